"""Tables of pictures under headings."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from sassn_jax.prediction.run import Run
from sassn_jax.training.summaries import picture_row, tile, write_picture

GAP = 4  # pixels between pictures, before they are enlarged
STRIP = 40  # height of the headings in pixels
WHITE = 255

Picture = UInt8[np.ndarray, "H W 3"]


def draw_predictions(
    path: Path,
    runs: Iterable[tuple[str, Run]],
    split: str,
    choose: Callable[[int], Iterable[int]],
    width: int,
) -> None:
    """Draws a row for each of some images: input, truth, and the prediction of each run.

    Args:
      path: of the PNG file.
      runs: with their headings; at least one, and all of one dataset.
      split: of the dataset.
      choose: returns the indices of the images, given the number of images in the split.
      width: the pictures are enlarged by a whole number, up to this many pixels.
    """
    headings = ["input", "truth"]
    rows: list[list[Picture]] = []
    for heading, run in runs:
        source = run.dataset.splits[split]
        examples = (source[index] for index in choose(len(source)))
        drawn = [picture_row(x, run.predict(x["image"]).ids, run.dataset.info) for x in examples]
        rows = [old + new[2:] for old, new in zip(rows, drawn, strict=True)] if rows else drawn
        headings.append(heading)
    write_headed_table(path, headings, rows, max(1, width // rows[0][0].shape[1]))


def write_headed_table(
    path: Path, headings: Sequence[str], rows: Sequence[Sequence[Picture]], enlarged: int
) -> None:
    """Writes a PNG file of pictures in rows, each column under its heading.

    Args:
      path: of the file, which appears whole or not at all.
      headings: of the columns.
      rows: of equal length. A picture smaller than the largest is centred on white.
      enlarged: whole number by which each side of the pictures grows.
    """
    height, width = (max(p.shape[axis] for row in rows for p in row) for axis in (0, 1))

    def framed(picture: Picture) -> Picture:
        down, right = height - picture.shape[0], width - picture.shape[1]
        margins = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
        return np.pad(picture, margins, constant_values=WHITE)

    table = (
        tile([list(map(framed, row)) for row in rows], GAP)
        .repeat(enlarged, axis=0)
        .repeat(enlarged, axis=1)
    )
    strip = Image.new("RGB", (table.shape[1], STRIP), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(headings):
        middle = (i * (width + GAP) * enlarged + width * enlarged // 2, STRIP // 2)
        draw.text(middle, name, fill="black", anchor="mm", font_size=24)
    write_picture(path, np.concatenate([np.asarray(strip), table]))
