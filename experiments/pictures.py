"""Tables of pictures under headings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

GAP = 4  # pixels of a picture between pictures
STRIP = 40  # pixels of the headings' height
WHITE = 255

Picture = UInt8[np.ndarray, "H W 3"]


def write_headed_table(
    path: Path, headings: Sequence[str], rows: Sequence[Sequence[Picture]], enlarged: int
) -> None:
    """Writes a PNG file of pictures in rows, each column under its heading.

    Args:
      path: of the file, which appears whole or not at all.
      headings: of the columns.
      rows: as many pictures in each; smaller ones stand in the middle of the size of the largest.
      enlarged: by how much, in whole numbers.
    """
    from sassn_jax.training.summaries import tile, write_picture

    height, width = (max(p.shape[axis] for row in rows for p in row) for axis in (0, 1))
    framed = [[_frame(picture, height, width) for picture in row] for row in rows]
    table = tile(framed, GAP).repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    strip = Image.new("RGB", (table.shape[1], STRIP), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(headings):
        middle = (i * (width + GAP) * enlarged + width * enlarged // 2, STRIP // 2)
        draw.text(middle, name, fill="black", anchor="mm", font_size=24)
    write_picture(path, np.concatenate([np.asarray(strip), table]))


def _frame(picture: Picture, height: int, width: int) -> Picture:
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    framed = np.full((height, width, 3), WHITE, np.uint8)
    framed[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return framed
