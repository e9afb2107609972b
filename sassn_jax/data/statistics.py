"""Counts of classes in masks, and warnings of what looks wrong in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from sassn_jax.data.dataset import IGNORE_LABEL

NAMED = 5  # the most classes that a warning lists
# What people call pixels that are of no class.
_NO_CLASS = ("ignore", "ignored", "__ignore__", "void", "unlabeled", "unlabelled", "undefined")


@dataclass(frozen=True)
class LabelCounts:
    """Counts over the masks of a split.

    Attributes:
      images: number of masks.
      pixels: of each class.
      images_with: number of masks in which each class occurs.
      ignored: pixels with the ignore label.
      unlabeled: number of masks in which every pixel is ignored.
      black_and_white: number of masks with the values 0 and 255 and no others.
      turned: number of masks whose image has an EXIF orientation other than 1.

    Raises:
      ValueError: for negative counts, and for other numbers of classes in `pixels` than in
        `images_with`.
    """

    images: int
    pixels: tuple[int, ...]
    images_with: tuple[int, ...]
    ignored: int
    unlabeled: int
    black_and_white: int
    turned: int

    def __post_init__(self) -> None:
        others = (self.images, self.ignored, self.unlabeled, self.black_and_white, self.turned)
        numbers = (*self.pixels, *self.images_with, *others)
        if len(self.pixels) != len(self.images_with) or any(number < 0 for number in numbers):
            raise ValueError(f"{self}: expected a count for each class")

    @classmethod
    def empty(cls, num_classes: int) -> "LabelCounts":
        """Returns the counts over no masks."""
        zeros = (0,) * num_classes
        return cls(0, zeros, zeros, 0, 0, 0, 0)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "LabelCounts":
        """Returns the counts from the result of `dataclasses.asdict`, perhaps through JSON."""
        lists = {name: tuple(fields[name]) for name in ("pixels", "images_with")}
        return cls(**{**fields, **lists})

    def add(self, label: Integer[np.ndarray, "H W"], *, turned: bool = False) -> "LabelCounts":
        """Returns the counts after one more mask.

        Args:
          label: the mask, of class ids and 255.
          turned: whether its image has an EXIF orientation other than 1.
        """
        counts = np.bincount(label.ravel(), minlength=IGNORE_LABEL + 1).tolist()
        of_classes = counts[: len(self.pixels)]
        return LabelCounts(
            images=self.images + 1,
            pixels=tuple(map(sum, zip(self.pixels, of_classes, strict=True))),
            images_with=tuple(
                before + (count > 0)
                for before, count in zip(self.images_with, of_classes, strict=True)
            ),
            ignored=self.ignored + counts[IGNORE_LABEL],
            unlabeled=self.unlabeled + (not any(of_classes)),
            black_and_white=self.black_and_white
            + (counts[0] > 0 and counts[0] + counts[IGNORE_LABEL] == label.size > counts[0]),
            turned=self.turned + turned,
        )

    def share(self, pixels: int) -> float:
        """Returns a number of pixels as a share of all pixels, ignored ones included; 0 of none."""
        return pixels / max(1, self.ignored + sum(self.pixels))


def find_oddities(class_names: Sequence[str], counts: Mapping[str, LabelCounts]) -> tuple[str, ...]:
    """Returns one line for each thing in the masks that is usually a mistake.

    These are ids that seem to begin at 1, classes that are missing in all or some splits, masks in
    which every pixel is ignored, masks of 0 and 255, and images with an EXIF orientation.

    Args:
      class_names: in order of class id.
      counts: of each split with masks.
    """
    found = [
        f"class {i} {name!r} is trained and scored like every other; if it stands for pixels "
        "without a class, call it `ignore` in classes.txt"
        for i, name in enumerate(class_names)
        if name.lower() in _NO_CLASS
    ]
    if not counts:  # no mask could be read
        return tuple(found)
    occurring = {
        split: {i for i, pixels in enumerate(of_split.pixels) if pixels}
        for split, of_split in counts.items()
    }
    anywhere = set().union(*occurring.values())
    if anywhere and 0 not in anywhere:
        last = len(class_names) - 1
        found.append(_begin_at_one(class_names, is_last_absent=last not in anywhere))
        anywhere |= {0, last}  # the line above reports them
    if absent := sorted(set(range(len(class_names))) - anywhere):
        line = f"no mask holds {_name(class_names, absent)}"
        if absent == [len(class_names) - 1] != [0]:
            line += (
                ", the last: is it absent, or does 0 stand for pixels without a class, so that "
                "every other pixel counts as the class after its own? Then write `ignore` as the "
                "first line of classes.txt"
            )
        found.append(line)
    for split, ids in occurring.items():
        if missing := sorted(set().union(*occurring.values()) - ids):
            found.append(
                f"no mask of {split} holds {_name(class_names, missing)}, which other splits have"
            )
    for split, of_split in counts.items():
        for number, what, text in (
            (of_split.unlabeled, "masks", f"are ignored as a whole (all {IGNORE_LABEL})"),
            (
                of_split.black_and_white,
                "masks",
                f"hold 0 and {IGNORE_LABEL} alone, and {IGNORE_LABEL} is read as ignored: does it "
                "stand for a class?",
            ),
            (
                of_split.turned,
                "images",
                "have an EXIF orientation and are taken as they are stored: do their masks fit the "
                "stored pixels?",
            ),
        ):
            if number:
                found.append(f"{number} of {of_split.images} {what} of {split} {text}")
    return tuple(found)


def _begin_at_one(class_names: Sequence[str], *, is_last_absent: bool) -> str:
    """Returns the warning for masks without class 0."""
    cause = "do the ids begin at 1, so that every pixel counts as the class after its own"
    if is_last_absent:
        both = f"classes 0 {class_names[0]!r} and {len(class_names) - 1} {class_names[-1]!r}"
        return f"{both}, the first and the last, occur in no mask: are they absent, or {cause}?"
    return (
        f"class id 0, {class_names[0]!r}, occurs in no mask: is it absent, or {cause}, and is the "
        f"class that occurs in no mask the last, {class_names[-1]!r}?"
    )


def _name(class_names: Sequence[str], ids: Sequence[int]) -> str:
    """Returns the ids and names of the first few classes, for a warning."""
    named = ", ".join(f"{i} {class_names[i]!r}" for i in ids[:NAMED])
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"class {named}" if len(ids) == 1 else f"classes {named}{more}"
