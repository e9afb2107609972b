"""The file classes.txt of a user's folder: names of classes, and perhaps their colours in masks."""

import re
from pathlib import Path

from sassn_jax.data.dataset import IGNORE_LABEL, Color
from sassn_jax.data.lists import read_list
from sassn_jax.errors import InputError

# "road 128 64 128"; also CVAT's "road:128,64,128::".
_WITH_COLOR = re.compile(r"(.+?)\s*[\s:,]\s*(\d+)[\s,]+(\d+)[\s,]+(\d+):*")


def read_class_list(path: Path) -> tuple[tuple[str, ...], dict[str, Color]]:
    """Reads the classes in order of class id, one per line: `NAME`, or `NAME RED GREEN BLUE`.

    Returns:
      The names, and the colours by name in the same order; no colours if the lines have none.

    Raises:
      InputError: if the file is missing or empty, has more classes than masks can hold, a name or a
        colour twice, or a colour in some lines only.
    """
    lines = read_list(path, "class names")
    if len(lines) > IGNORE_LABEL:
        raise InputError(f"{path}: {len(lines)} classes; at most {IGNORE_LABEL}")
    colors: dict[str, Color] = {}
    for line in lines:
        if (match := _WITH_COLOR.fullmatch(line)) is None:
            continue
        name, *numbers = match.groups()
        red, green, blue = (int(number) for number in numbers)
        if max(red, green, blue) > 255:
            raise InputError(f"{path}: {line!r}: expected NAME RED GREEN BLUE, each from 0 to 255")
        if name in colors or (red, green, blue) in colors.values():
            what = "name" if name in colors else "colour"
            raise InputError(f"{path}: {line!r}: this {what} occurs twice; expected it once")
        colors[name] = red, green, blue
    if not colors:
        return lines, {}
    if len(colors) < len(lines):
        plain = next(line for line in lines if not _WITH_COLOR.fullmatch(line))
        raise InputError(
            f"{path}: {plain!r} has no colour, but other lines have; expected NAME RED GREEN BLUE "
            "in each line, or names alone"
        )
    return tuple(colors), colors
