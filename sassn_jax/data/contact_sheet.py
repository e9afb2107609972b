"""A picture of some images of each split under the colours of their masks, with a legend."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from sassn_jax.data.dataset import UNLABELED, Dataset, DatasetInfo, subset
from sassn_jax.data.drawing import Font, draw_legend, line_height, make_font, shortened
from sassn_jax.data.inspection import LABELED_PART, Inspection, read

COLUMNS = 6
SIDE = 240  # of the longer side of a picture, pixels
THINNEST = 4  # of its shorter side, so that a strip of 4000x20 can be seen
GAP = 12  # pixels
FONT_SIZE = 13  # pixels
LINE = line_height(FONT_SIZE)  # pixels from one line of text to the next
_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (100, 100, 100)


def draw_sheet(dataset: Dataset, inspection: Inspection, count: int = 24) -> Image.Image:
    """Draws images of each split, half covered by the colours of their masks, and a legend.

    Args:
      dataset: all its splits.
      inspection: of the dataset; says which images can be read.
      count: of images, at most.
    """
    font = make_font(FONT_SIZE)
    parts = {name: part for name, part in inspection.parts.items() if part.ids}
    if LABELED_PART in inspection.parts:  # the two parts of train stand for it
        parts.pop("train", None)
    chosen = choose({name: len(part.ids) for name, part in parts.items()}, count)
    cells = []
    for name, positions in chosen.items():
        part = parts[name]
        source = subset(dataset.splits[part.split], (part.ids[i] for i in positions))
        for i, id_ in enumerate(source.ids):
            pixels = read(source, i, dataset.info, masked=part.split != UNLABELED)
            cells.append(_cell(overlay(*pixels, dataset.info, SIDE), (id_, name), font))
    is_ignored = any(counts.ignored for counts in inspection.counts.values())
    legend = _legend(dataset.info, is_ignored)
    return _stack([*_rows(cells), legend])


def choose(lengths: Mapping[str, int], count: int) -> dict[str, list[int]]:
    """Chooses images, about as many of each part, at equal distances within the part.

    Args:
      lengths: the number of images of each part.
      count: of images to choose; all are chosen if there are fewer.

    Returns:
      For each part, the positions of the images chosen, in order.
    """
    shares = dict.fromkeys(lengths, 0)
    for _ in range(min(count, sum(lengths.values()))):
        left = [name for name in lengths if shares[name] < lengths[name]]
        shares[min(left, key=shares.__getitem__)] += 1  # the first of the parts with fewest
    return {
        name: [i * lengths[name] // max(1, share) for i in range(share)]
        for name, share in shares.items()
    }


def overlay(
    image: UInt8[np.ndarray, "H W 3"],
    label: UInt8[np.ndarray, "H W"] | None,
    info: DatasetInfo,
    length: int,
) -> Image.Image:
    """Returns an image half covered by the colours of its mask, ignored pixels by white.

    Args:
      image: RGB, 0-255.
      label: its mask; without one, the image is shown as it is.
      info: with the colours of the classes.
      length: of the longer side of what is returned, pixels; the shorter has at least `THINNEST`.
    """
    height, width = image.shape[:2]
    factor = length / max(height, width)
    size = max(THINNEST, round(factor * width)), max(THINNEST, round(factor * height))
    smooth = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS
    picture = Image.fromarray(image).resize(size, smooth)
    if label is None:
        return picture
    small = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    return Image.blend(picture, Image.fromarray(info.mask_palette[small]), 0.5)


def _cell(picture: Image.Image, lines: tuple[str, ...], font: Font) -> Image.Image:
    """Returns a picture above lines of text."""
    cell = Image.new("RGB", (SIDE, picture.height + len(lines) * LINE), _WHITE)
    cell.paste(picture, ((SIDE - picture.width) // 2, 0))
    draw = ImageDraw.Draw(cell)
    for i, (line, color) in enumerate(zip(lines, (_BLACK, _GREY), strict=True)):
        place = SIDE / 2, picture.height + i * LINE
        draw.text(place, shortened(line, SIDE, font), fill=color, font=font, anchor="ma")
    return cell


def _rows(cells: list[Image.Image]) -> list[Image.Image]:
    """Returns rows of cells, which stand on the bottom of the row."""
    rows = []
    for start in range(0, len(cells), COLUMNS):
        of_row = cells[start : start + COLUMNS]
        height = max(cell.height for cell in of_row)
        row = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, height), _WHITE)
        for i, cell in enumerate(of_row):
            row.paste(cell, (i * (SIDE + GAP), height - cell.height))
        rows.append(row)
    return rows


def _legend(info: DatasetInfo, is_ignored: bool) -> Image.Image:
    """Returns the colour, the id and the name of each class; of ignored pixels if there are any."""
    entries = [
        (f"{i} {name}", tuple(color))
        for i, (name, color) in enumerate(zip(info.class_names, info.palette.tolist(), strict=True))
    ]
    if is_ignored:
        entries.append((f"{info.ignore_label} (ignored)", _WHITE))
    return Image.fromarray(draw_legend(entries, COLUMNS * (SIDE + GAP) - GAP, FONT_SIZE))


def _stack(pictures: list[Image.Image]) -> Image.Image:
    """Returns pictures of one width one below the other, with margins."""
    height = sum(picture.height + GAP for picture in pictures) + GAP
    sheet = Image.new("RGB", (pictures[0].width + 2 * GAP, height), _WHITE)
    top = GAP
    for picture in pictures:
        sheet.paste(picture, (GAP, top))
        top += picture.height + GAP
    return sheet
