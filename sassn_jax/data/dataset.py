"""What a dataset is: its classes, and a source of images for each split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt8

from sassn_jax.errors import InputError

IGNORE_LABEL = 255
_STRETCHED = 20  # ids that lie as far apart as this are grey values for the eye
Color = tuple[int, int, int]  # RGB, 0-255
UNLABELED = "unlabeled"  # name of the split of training images without masks


class Example(TypedDict):
    """One image of a source.

    Attributes:
      image: uint8 `[H, W, 3]`, RGB, 0-255.
      label: uint8 `[H, W]`, class ids or the ignore label. Absent if the image has no mask.
      id: the image's name, unique in its source.
    """

    image: np.ndarray
    label: NotRequired[np.ndarray]
    id: str


@runtime_checkable
class Source(Protocol):
    """Random access to the images of a split. It can be pickled and read by several threads."""

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order. No image is decoded for them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


@dataclass(frozen=True)
class DatasetInfo:
    """The classes of a dataset.

    Attributes:
      name: of the dataset, as `data.load` takes it.
      class_names: in order of class id.
      palette: uint8 `[C, 3]`, the RGB colour of each class in pictures.
      ignore_label: id of pixels that take no part in losses and metrics.
    """

    name: str
    class_names: tuple[str, ...]
    palette: UInt8[np.ndarray, "C 3"]
    ignore_label: int = IGNORE_LABEL

    @property
    def num_classes(self) -> int:
        """The number of classes, without the ignore label."""
        return len(self.class_names)

    @property
    def mask_palette(self) -> UInt8[np.ndarray, "256 3"]:
        """The RGB colour of each value of a mask: its class's; white for all that are no class."""
        palette = np.full((256, 3), 255, np.uint8)
        palette[: self.num_classes] = self.palette
        return palette


def check_class_ids(
    label: Integer[np.ndarray, "H W"],
    name: object,
    num_classes: int,
    ignore_label: int = IGNORE_LABEL,
    *,
    may_list_ignore: bool = False,
) -> None:
    """Checks that a mask has only class ids and the ignore label.

    Args:
      label: the mask.
      name: of the mask, for the message.
      num_classes: the ids 0 to `num_classes - 1` are allowed.
      ignore_label: allowed too.
      may_list_ignore: whether the remedy may be a line `ignore` in classes.txt.

    Raises:
      InputError: names the mask and its first wrong id, and guesses at the cause.
    """
    wrong = label[((label < 0) | (label >= num_classes)) & (label != ignore_label)]
    if wrong.size:
        remedy = _likeliest_cause(label, np.unique(wrong), num_classes, ignore_label)
        if may_list_ignore and np.unique(wrong).tolist() == [num_classes]:
            listed = "write `ignore` as the first line of classes.txt"
            remedy = (
                f"if 0 stands for pixels without a class, {listed}; else {remedy}"
                if (label == 0).any()
                else f"{remedy}, or {listed}"
            )
        raise InputError(
            f"{name}: class id {wrong[0]}; expected 0 to {num_classes - 1} or {ignore_label} "
            f"(ignore); {remedy} ({wrong.size} of {label.size} pixels)"
        )


def _likeliest_cause(
    label: Integer[np.ndarray, "H W"],
    wrong: Integer[np.ndarray, " N"],
    num_classes: int,
    ignore_label: int,
) -> str:
    """Returns what to do about the `wrong` values of a mask, by what usually causes such values."""
    values = np.unique(label)
    ids = values[values != ignore_label]
    if ids[0] == 1 and ids[-1] == num_classes:
        return "the ids seem to begin at 1, so subtract 1 from each"
    if 2 < len(values) <= num_classes and np.diff(values).min() >= _STRETCHED:
        return "the ids seem to be spread over the grey values: export the ids themselves"
    if len(wrong) > 2 and wrong[-1] - wrong[0] >= len(wrong):
        return "the edges seem to be smoothed between classes: export the mask without that"
    if len(wrong) > 1 and wrong[0] == num_classes:
        return "the list of classes seems to be too short"
    return "correct the mask or the classes"


def voc_color(number: int) -> Color:
    """Returns PASCAL VOC's RGB colour of a class id, whose bits it spreads over the channels."""
    red, green, blue = (
        sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for channel in range(3)
    )
    return red, green, blue


def make_palette(
    class_names: Sequence[str], colors: Mapping[str, Color]
) -> UInt8[np.ndarray, "C 3"]:
    """Returns the colours of classes. Those that `colors` does not name get one of PASCAL VOC.

    A class `background` is black, as there.
    """
    colors = {"background": voc_color(0), **colors}
    palette = [colors.get(name, voc_color(i + 1)) for i, name in enumerate(class_names)]
    return np.array(palette, np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A dataset: its classes, and a source for each split.

    Attributes:
      info: the classes.
      splits: sources by name: `train` and `val`; `test` and `unlabeled` if the dataset has them.
      fingerprint: a hash that changes with images and masks. Empty for generated images, which
        never change.
      proposed: ids of the images whose mask a network proposed; of a `folder` only.
    """

    info: DatasetInfo
    splits: Mapping[str, Source]
    fingerprint: str = ""
    proposed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Subset:
    """The images at some positions of a source, in a given order."""

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
    """The images of several sources, one source after the other. Their ids must differ."""

    sources: tuple[Source, ...]

    @property
    def ids(self) -> Sequence[str]:
        """The images' names in order."""
        return tuple(id_ for source in self.sources for id_ in source.ids)

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __getitem__(self, index: int, /) -> Example:
        place = index
        for source in self.sources:
            if 0 <= place < len(source):
                return source[place]
            place -= len(source)
        raise IndexError(f"{index=}: there are {len(self)} images")


def subset(source: Source, ids: Iterable[str]) -> Subset:
    """Returns the images of `source` with these ids, in the order of `ids`.

    Raises:
      InputError: if the source has no image with one of the ids.
    """
    position = {id_: i for i, id_ in enumerate(source.ids)}
    try:
        return Subset(source, tuple(position[id_] for id_ in ids))
    except KeyError as error:
        raise InputError(
            f"id {error.args[0]!r}: no such image among the {len(position)} of this split "
            f"(the first is {next(iter(position), None)!r})"
        ) from None
