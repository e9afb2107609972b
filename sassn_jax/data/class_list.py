"""The file classes.txt of a user's folder: names of classes, and perhaps their colours in masks.

A line `ignore` is no class. It stands for pixels that take no part in training and scoring.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from sassn_jax.data.dataset import IGNORE_LABEL, Color
from sassn_jax.data.lists import read_list
from sassn_jax.errors import InputError

IGNORE = "ignore"  # the name of a line for pixels that are of no class
# "road 128 64 128"; also CVAT's "road:128,64,128::".
_WITH_COLOR = re.compile(r"(.+?)\s*[\s:,]\s*(\d+)[\s,]+(\d+)[\s,]+(\d+):*")


class ClassList(NamedTuple):
    """The lines of classes.txt. Masks hold the numbers of the lines, from 0, or their colours.

    Attributes:
      lines: the names, with `ignore` where it stands.
      line_colors: of the lines, in the same order; empty if they have none.
    """

    lines: tuple[str, ...] = ()
    line_colors: tuple[Color, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, in order of class id."""
        return tuple(name for name in self.lines if name != IGNORE)

    @property
    def colors(self) -> dict[str, Color]:
        """The colours of the classes by name, in the same order; empty if the lines have none."""
        named = zip(self.lines, self.line_colors, strict=False)
        return {name: color for name, color in named if name != IGNORE}

    @property
    def ignores(self) -> bool:
        """Whether there is a line `ignore`."""
        return IGNORE in self.lines

    @property
    def notes(self) -> tuple[str, ...]:
        """One line that says which pixels are ignored, if there is a line `ignore`."""
        if not self.ignores:
            return ()
        numbers = [i for i, name in enumerate(self.lines) if name == IGNORE]
        which = f"the id {', '.join(map(str, numbers))}"
        if self.line_colors:
            colors = (" ".join(map(str, self.line_colors[i])) for i in numbers)
            which = f"the colour {', '.join(colors)} (in masks of ids: {which})"
        return (f"classes.txt has {IGNORE!r}: pixels with {which} take no part",)

    def to_class_ids(self, numbers: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
        """Returns the class ids of a mask of numbers of lines; 255 for `ignore` and for 255."""
        class_ids = np.full(256, IGNORE_LABEL, np.uint8)
        is_class = [name != IGNORE for name in self.lines]
        class_ids[np.flatnonzero(is_class)] = np.arange(sum(is_class))
        return class_ids[numbers]


def read_class_list(path: Path) -> ClassList:
    """Reads the lines of classes.txt: `NAME`, or `NAME RED GREEN BLUE`.

    Raises:
      InputError: if the file is missing or empty, has no class or more lines than masks can hold, a
        name other than `ignore` or a colour twice, or a colour in some lines only.
    """
    entries = read_list(path, "class names", repeatable=(IGNORE,))
    if len(entries) > IGNORE_LABEL:
        raise InputError(f"{path}: {len(entries)} classes; at most {IGNORE_LABEL}")
    names: list[str] = []
    colors: list[Color] = []
    for line in entries:
        if (match := _WITH_COLOR.fullmatch(line)) is None:
            continue
        name, *numbers = match.groups()
        red, green, blue = (int(number) for number in numbers)
        if max(red, green, blue) > 255:
            raise InputError(f"{path}: {line!r}: expected NAME RED GREEN BLUE, each from 0 to 255")
        is_repeated = name in names and name != IGNORE
        if is_repeated or (red, green, blue) in colors:
            what = "name" if is_repeated else "colour"
            raise InputError(f"{path}: {line!r}: this {what} occurs twice; expected it once")
        names.append(name)
        colors.append((red, green, blue))
    if colors and len(colors) < len(entries):
        plain = next(line for line in entries if not _WITH_COLOR.fullmatch(line))
        raise InputError(
            f"{path}: {plain!r} has no colour, but other lines have; expected NAME RED GREEN BLUE "
            "in each line, or names alone"
        )
    found = ClassList(tuple(names) or entries, tuple(colors))
    if not found.names:
        raise InputError(f"{path}: {IGNORE!r} alone, which is no class; expected names of classes")
    return found
