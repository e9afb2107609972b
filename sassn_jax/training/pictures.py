"""Tables of pictures under headings, with a legend of the classes, as uint8 arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sassn_jax.data import DatasetInfo
from sassn_jax.data.drawing import CONFIDENCE, Font, draw_legend, draw_scale, line_height, make_font
from sassn_jax.training.summaries import tile

Picture = UInt8[np.ndarray, "_ _ 3"]  # of any size

GAP = 4  # pixels between pictures, before they are enlarged
STRIP = 40  # height of the headings in pixels
FONT_SIZE = 24  # of the headings, in pixels
LETTERS = 16  # their height in a legend and beside bars, in pixels
LINE = line_height(LETTERS)  # height of a line of the legend, and of a bar
NARROWEST = 240  # pictures of fewer pixels are enlarged, so that a heading has room above them
WHITE = 255


def headed_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Picture]],
    enlarged: int | None = None,
) -> Picture:
    """Joins pictures in rows, each column under its heading.

    Args:
      headings: of the columns, of one or more lines.
      rows: of equal length. A picture smaller than the largest is centred on white.
      enlarged: whole number by which each side of the pictures grows; None for the smallest one
        that makes the columns wide enough for a heading.
    """
    height, width = (max(p.shape[axis] for row in rows for p in row) for axis in (0, 1))
    enlarged = enlarged or max(1, -(-NARROWEST // width))

    def framed(picture: Picture) -> Picture:
        down, right = height - picture.shape[0], width - picture.shape[1]
        margins = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
        return np.pad(picture, margins, constant_values=WHITE)

    table = tile([list(map(framed, row)) for row in rows], GAP)
    table = table.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    lines = max(name.count("\n") for name in headings) + 1
    strip = Image.new("RGB", (table.shape[1], STRIP * lines), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(headings):
        for line, text in enumerate(name.split("\n")):
            middle = (
                i * (width + GAP) * enlarged + width * enlarged // 2,
                STRIP * line + STRIP // 2,
            )
            font = _fitting_font(text, 0.95 * width * enlarged)
            draw.text(middle, text, fill="black", anchor="mm", font=font)
    return np.concatenate([np.asarray(strip), table])


def _fitting_font(text: str, width: float) -> Font:
    """Returns the largest font of at most `FONT_SIZE` in which a text stays above its column.

    Letters have whole widths, so they do not shrink in proportion to the size.
    """
    sizes = range(FONT_SIZE, 5, -1)
    fonts = (make_font(size) for size in sizes)
    return next((font for font in fonts if font.getlength(text) <= width), make_font(sizes[-1]))


def with_legend(picture: Picture, info: DatasetInfo, *, confidence: bool = False) -> Picture:
    """Returns a picture with the legend of its classes below.

    Args:
      picture: with the colours of the classes.
      info: names and colours of the classes.
      confidence: whether it also has the colours of D's confidence, whose scale is then drawn too.
    """
    width = picture.shape[1]
    entries = [*zip(info.class_names, map(tuple, info.palette.tolist()), strict=True)]
    parts = [picture, draw_legend([*entries, ("ignored", (WHITE,) * 3)], width, LETTERS)]
    if confidence:
        parts.append(draw_scale(CONFIDENCE, width, LETTERS))
    return np.concatenate(parts)


def iou_bars(iou: Float[np.ndarray, " C"], info: DatasetInfo, longest: int = 400) -> Picture:
    """Draws a bar for the IoU of each class, in its colour, and one for the mean, in grey.

    Args:
      iou: of each class, 0 to 1; NaN for one that does not occur, which has no bar.
      info: names and colours of the classes.
      longest: length of a bar of 1 in pixels.
    """
    font = make_font(LETTERS)
    known = iou[np.isfinite(iou)]
    mean = float(known.mean()) if known.size else float("nan")
    names = [*info.class_names, "mean"]
    colors = [*map(tuple, info.palette.tolist()), (128, 128, 128)]
    left = 12 + max(round(font.getlength(name)) for name in names)
    picture = Image.new("RGB", (left + longest + 70, LINE * len(names)), "white")
    draw = ImageDraw.Draw(picture)
    for i, (name, color, value) in enumerate(zip(names, colors, [*iou, mean], strict=True)):
        middle = i * LINE + LINE // 2
        draw.text((left - 6, middle), name, "black", anchor="rm", font=font)
        end = left
        if np.isfinite(value):
            end = left + round(longest * float(value))
            draw.rectangle((left, middle - 8, end, middle + 8), fill=color, outline="black")
        text = f"{value:.3f}" if np.isfinite(value) else "does not occur"
        draw.text((end + 6, middle), text, "black", anchor="lm", font=font)
    return np.asarray(picture)


def heat_over(image: Picture, heat: Float[np.ndarray, "h w"], pixel: tuple[int, int]) -> Picture:
    """Lays a map over a grey copy of an image: red where it is largest, grey where it is smallest.

    Args:
      image: that the map is of.
      heat: of any size and range; all is grey where it has one value.
      pixel: row and column in the image, for a cross.
    """
    height, width = image.shape[:2]
    lowest, highest = float(heat.min()), float(heat.max())
    scaled = (heat - lowest) / max(highest - lowest, 1e-30)
    large = Image.fromarray(scaled.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    share = np.asarray(large)[..., None]
    grey = image.mean(-1, keepdims=True)
    blended = np.round((1 - share) * grey + share * np.array([255.0, 0.0, 0.0])).astype(np.uint8)
    return crossed(blended, pixel)


def crossed(image: Picture, pixel: tuple[int, int]) -> Picture:
    """Returns an image with a cyan cross that leaves the pixel itself as it is."""
    row, column = pixel
    arm = max(3, min(image.shape[:2]) // 24)
    picture = image.copy()
    for offset in (*range(-arm, -1), *range(2, arm + 1)):
        for y, x in ((row + offset, column), (row, column + offset)):
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                picture[y, x] = (0, 255, 255)
    return picture
