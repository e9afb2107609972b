"""A look at all images and masks of a dataset before a run: numbers, and what seems wrong."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from sassn_jax.data.dataset import UNLABELED, Dataset, DatasetInfo, Source, check_class_ids
from sassn_jax.data.duplicates import (
    NEAR,
    NearDuplicate,
    find_near_duplicates,
    perceptual_hash,
)
from sassn_jax.data.images import size
from sassn_jax.data.layout import Progress
from sassn_jax.data.statistics import LabelCounts, find_oddities
from sassn_jax.errors import InputError, UnreadableError

# The two parts of the training images, where a run does not use all of their masks.
LABELED_PART = "train (labeled)"
UNLABELED_PART = "train (unlabeled)"
_LARGE = 16  # times the pixels of a crop: an image with more is pointed out


class Named(NamedTuple):
    """Something about one image.

    Attributes:
      split: of the image.
      id: of the image.
      text: what is wrong with it.
    """

    split: str
    id: str
    text: str


@dataclass
class Part:
    """The images of a split, or of a part of one, that can be read.

    Attributes:
      split: of the dataset.
      counts: of the masks; None if the part has none, or a run does not use them.
      ids: of the images.
      widths: of the images, in pixels.
      heights: the same.
    """

    split: str
    counts: LabelCounts | None
    ids: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)

    def add(
        self, id_: str, image: UInt8[np.ndarray, "H W 3"], label: UInt8[np.ndarray, "H W"] | None
    ) -> None:
        """Adds an image; its mask is counted if the part counts masks."""
        self.ids.append(id_)
        self.widths.append(image.shape[1])
        self.heights.append(image.shape[0])
        if self.counts is not None and label is not None:
            self.counts = self.counts.add(label)

    def describe(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns all numbers, as JSON can hold them.

        Shares are of the pixels of all masks, ignored ones included.
        """
        described = {
            "images": len(self.ids),
            "width": spread(self.widths),
            "height": spread(self.heights),
        }
        counts = self.counts
        if counts is None or not counts.images:
            return described
        rows = zip(class_names, counts.pixels, counts.images_with, strict=True)
        classes = [
            {"name": name, "pixels": pixels, "share": counts.share(pixels), "images": images}
            for name, pixels, images in rows
        ]
        return {
            **described,
            "ignored": {"pixels": counts.ignored, "share": counts.share(counts.ignored)},
            "classes": classes,
            "absent": [row["name"] for row in classes if not row["pixels"]],
        }


def spread(lengths: Sequence[int]) -> dict[str, float] | None:
    """Returns the smallest, the median and the largest length, in pixels; None of no lengths."""
    if not lengths:
        return None
    values = min(lengths), float(np.median(lengths)), max(lengths)
    return dict(zip(("smallest", "median", "largest"), values, strict=True))


@dataclass(frozen=True)
class Inspection:
    """What a dataset holds.

    Attributes:
      class_names: in order of class id.
      parts: the splits by name; and `LABELED_PART` and `UNLABELED_PART` after `train`, if a run
        does not use the masks of all training images.
      odd_masks: masks with one class, or with ignored pixels alone.
      near_duplicates: images that look like one of another split; None if nobody looked.
      unreadable: images that are not among the parts, since they or their masks cannot be read.
      damaged: what is wrong with those of them of which a file is damaged, by id.
      left_out: images that were read before and are not in the dataset, since a file is damaged.
    """

    class_names: tuple[str, ...]
    parts: dict[str, Part]
    odd_masks: tuple[Named, ...]
    near_duplicates: tuple[NearDuplicate, ...] | None
    unreadable: tuple[Named, ...]
    damaged: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[Named, ...] = ()

    @property
    def counts(self) -> dict[str, LabelCounts]:
        """The counts of the parts with masks."""
        counts = {name: part.counts for name, part in self.parts.items()}
        return {name: x for name, x in counts.items() if x is not None and x.images}

    @property
    def oddities(self) -> tuple[str, ...]:
        """A line for each thing about the masks of a part that is usually a mistake."""
        return find_oddities(self.class_names, self.counts)

    def describe(self) -> dict[str, Any]:
        """Returns everything, as JSON can hold it."""
        duplicates = self.near_duplicates
        return {
            "class_names": list(self.class_names),
            "splits": {name: part.describe(self.class_names) for name, part in self.parts.items()},
            "oddities": list(self.oddities),
            "odd_masks": [x._asdict() for x in self.odd_masks],
            "near_duplicate_bits": NEAR,
            "near_duplicates": None if duplicates is None else [x._asdict() for x in duplicates],
            "unreadable": [x._asdict() for x in self.unreadable],
            "left_out": [x._asdict() for x in self.left_out],
        }


def inspect(
    dataset: Dataset,
    labeled: Collection[str],
    *,
    duplicates: bool = True,
    progress: Progress = lambda done, total: None,
) -> Inspection:
    """Reads all images and masks of a dataset. An image that cannot be read is passed over.

    Args:
      dataset: all its splits.
      labeled: ids of the training images whose masks a run uses.
      duplicates: whether to look for near-duplicates, which needs the package imagehash.
      progress: called with the number of images read, and of all.
    """
    parts: dict[str, Part] = {}
    hashes: dict[str, dict[str, np.uint64]] = {}
    odd: list[Named] = []
    unreadable: list[Named] = []
    damaged: dict[str, str] = {}
    done, total = 0, sum(map(len, dataset.splits.values()))
    for name, source in dataset.splits.items():
        empty = LabelCounts.empty(dataset.info.num_classes)
        parts[name] = Part(name, None if name == UNLABELED else empty)
        is_divided = name == "train" and len(labeled) < len(source)
        if is_divided:
            parts |= {LABELED_PART: Part(name, empty), UNLABELED_PART: Part(name, None)}
        hashes[name] = {}
        for index, id_ in enumerate(source.ids):
            try:
                image, label = read(source, index, dataset.info, masked=name != UNLABELED)
            except (InputError, OSError) as error:
                unreadable.append(Named(name, id_, str(error)))
                if isinstance(error, UnreadableError):
                    damaged[id_] = str(error)
            else:
                parts[name].add(id_, image, label)
                if is_divided:
                    part = LABELED_PART if id_ in labeled else UNLABELED_PART
                    parts[part].add(id_, image, label)
                if label is not None and (text := _oddity(label, dataset.info)):
                    odd.append(Named(name, id_, text))
                if duplicates and (hash_ := perceptual_hash(image)) is not None:
                    hashes[name][id_] = hash_
            done += 1
            progress(done, total)
    return Inspection(
        class_names=dataset.info.class_names,
        parts=parts,
        odd_masks=tuple(odd),
        near_duplicates=find_near_duplicates(hashes) if duplicates else None,
        unreadable=tuple(unreadable),
        damaged=damaged,
    )


def large_image_note(
    crop_size: tuple[int, int], image_size: tuple[int, int], which: str
) -> tuple[str, ...]:
    """Returns a line if training crops show a small part of an image only; otherwise nothing.

    Args:
      crop_size: height and width of a crop, in pixels.
      image_size: height and width of an image, in pixels.
      which: image that is, such as "the first image of val".
    """
    (height, width), (whole_height, whole_width) = crop_size, image_size
    if whole_height * whole_width <= _LARGE * height * width:
        return ()
    return (
        f"a crop of {width}x{height} pixels is a small part of {which}, which has "
        f"{whole_width}x{whole_height}; if it does not show what the classes are, make the images "
        "smaller or crop_size larger (docs/own-data.md, Large photos)",
    )


def read(
    source: Source, index: int, info: DatasetInfo, *, masked: bool
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"] | None]:
    """Reads an image and its mask, which is None where images are not `masked`.

    Raises:
      InputError: if the image or its mask cannot be read, if the mask has another size than the
        image, or if it has an id that is no class.
      OSError: if a file cannot be read.
    """
    example = source[index]
    image, label = example["image"], example.get("label")
    if not masked or label is None:
        return image, None
    if label.shape != image.shape[:2]:
        raise InputError(f"its mask has {size(label)} pixels, the image {size(image)}")
    check_class_ids(label, "its mask", info.num_classes, info.ignore_label)
    return image, label


def _oddity(label: UInt8[np.ndarray, "H W"], info: DatasetInfo) -> str:
    """Returns what looks wrong in a mask; empty if nothing does."""
    ids = np.flatnonzero(np.bincount(label.ravel()))
    classes = ids[ids != info.ignore_label]
    if not classes.size:
        return "every pixel is ignored"
    if classes.size > 1 or info.num_classes == 1:
        return ""
    which = "every pixel" if classes.size == ids.size else "every pixel that is not ignored"
    return f"{which} is of class {classes[0]} {info.class_names[classes[0]]!r}"
