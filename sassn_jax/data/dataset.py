"""What a dataset is: named splits of random-access sources, and the facts about its classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt8

from sassn_jax.errors import InputError

IGNORE_LABEL = 255
UNLABELED = "unlabeled"  # the split of training images without masks, where there are any


class Example(TypedDict):
    """One image, as a source gives it.

    Attributes:
      image: uint8 `[H, W, 3]`, RGB, 0-255.
      label: uint8 `[H, W]`, class ids, or the dataset's ignore label. Absent where an image has
        no mask.
      id: the image's name, unique in its source.
    """

    image: np.ndarray
    label: NotRequired[np.ndarray]
    id: str


@runtime_checkable
class Source(Protocol):
    """Random access to the images of a split. Picklable, and safe to read from several threads."""

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order, known without decoding an image."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class DatasetInfo:
    """What all splits of a dataset share.

    Attributes:
      name: as `load` knows it.
      class_names: in order of class id.
      palette: uint8 `[C, 3]`, the colour (RGB) that stands for each class in pictures.
      ignore_label: the id of pixels that take no part in losses and metrics.
    """

    name: str
    class_names: tuple[str, ...]
    palette: UInt8[np.ndarray, "C 3"]
    ignore_label: int = IGNORE_LABEL

    @property
    def num_classes(self) -> int:
        """How many classes there are; the ignore label is none of them."""
        return len(self.class_names)


def check_class_ids(
    label: Integer[np.ndarray, "H W"],
    name: object,
    num_classes: int,
    ignore_label: int = IGNORE_LABEL,
) -> None:
    """Checks that a mask holds nothing but classes and pixels to ignore.

    Args:
      label: class ids.
      name: of the mask, for the message.
      num_classes: how many there are.
      ignore_label: the id of pixels to ignore.

    Raises:
      InputError: names the mask, and the first class id that is wrong.
    """
    wrong = label[((label < 0) | (label >= num_classes)) & (label != ignore_label)]
    if wrong.size:
        ids = label[label != ignore_label]
        remedy = "correct the mask or the classes"
        if ids.min() == 1 and ids.max() == num_classes:
            remedy = "the ids seem to begin at 1, so subtract 1 from each"
        elif (label == 0).any() and ids.size < label.size and len(np.unique(wrong)) > 2:
            remedy = "the edges seem to be smoothed between classes: export the mask without that"
        raise InputError(
            f"{name}: class id {wrong[0]}; expected 0 to {num_classes - 1} or {ignore_label} "
            f"(ignore); {remedy} ({wrong.size} of {label.size} pixels)"
        )


def voc_color(number: int) -> tuple[int, int, int]:
    """Colour of a class of PASCAL VOC: the number's bits dealt out to the channels from the top."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]


@dataclass(frozen=True)
class Dataset:
    """A dataset: its info, and a source for each split.

    Attributes:
      info: what all splits share.
      splits: `train`, `val` and `test`, and `unlabeled` where there are training images without
        masks.
      fingerprint: differs where the images or the masks do; empty where they are always the same.
    """

    info: DatasetInfo
    splits: Mapping[str, Source]
    fingerprint: str = ""


@dataclass(frozen=True)
class Subset:
    """Some images of a source, in a given order.

    Attributes:
      source: the source that is read.
      indices: positions in it.
    """

    source: Source
    indices: tuple[int, ...]

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order."""
        ids = self.source.ids
        return tuple(ids[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Example:
        return self.source[self.indices[index]]


@dataclass(frozen=True)
class Joined:
    """The images of several sources, one after the other.

    Attributes:
      sources: whose ids differ.
    """

    sources: tuple[Source, ...]

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order."""
        return tuple(id_ for source in self.sources for id_ in source.ids)

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __getitem__(self, index: int, /) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"{index=}: there are {len(self)} images")
        for source in self.sources:
            if index < len(source):
                break
            index -= len(source)
        return source[index]


def subset(source: Source, ids: Iterable[str]) -> Subset:
    """The images of `source` that are named, in the order named.

    Raises:
      InputError: where the source has no image of that name.
    """
    position = {id_: i for i, id_ in enumerate(source.ids)}
    ids = tuple(ids)
    for id_ in ids:
        if id_ not in position:
            raise InputError(
                f"id {id_!r}: no such image among the {len(position)} of this split "
                f"(the first is {next(iter(position), None)!r})"
            )
    return Subset(source, tuple(position[id_] for id_ in ids))
