"""Tables of pictures under headings, with a legend of the classes, as uint8 arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sassn_jax.data import DatasetInfo
from sassn_jax.training.summaries import tile

Picture = UInt8[np.ndarray, "_ _ 3"]  # of any size

GAP = 4  # pixels between pictures, before they are enlarged
STRIP = 40  # height of the headings in pixels
FONT_SIZE = 24  # of the headings, in pixels
LINE = 24  # height of a line of the legend, and of a bar
NARROWEST = 240  # pictures of fewer pixels are enlarged, so that a heading has room above them
WHITE = 255


def headed_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Picture]],
    enlarged: int | None = None,
) -> Picture:
    """Joins pictures in rows, each column under its heading.

    Args:
      headings: of the columns.
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
    strip = Image.new("RGB", (table.shape[1], STRIP), "white")
    draw = ImageDraw.Draw(strip)
    for i, name in enumerate(headings):
        middle = (i * (width + GAP) * enlarged + width * enlarged // 2, STRIP // 2)
        share = width * enlarged / draw.textlength(name, font_size=FONT_SIZE)
        font_size = min(FONT_SIZE, 0.95 * FONT_SIZE * share)  # smaller, to stay above its column
        draw.text(middle, name, fill="black", anchor="mm", font_size=font_size)
    return np.concatenate([np.asarray(strip), table])


def legend(info: DatasetInfo, width: int) -> Picture:
    """Draws the colour and the name of each class, and of ignored pixels, in lines of a width."""
    entries = [*zip(info.class_names, info.palette.tolist(), strict=True)]
    entries.append(("ignored", [WHITE] * 3))
    font_size, swatch = LINE - 8, LINE - 8
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], 0, 0
    for name, _ in entries:
        length = swatch + 6 + round(measure.textlength(name, font_size=font_size)) + 16
        if x and x + length > width:
            x, y = 0, y + LINE
        places.append((x, y))
        x += length
    picture = Image.new("RGB", (width, y + LINE), "white")
    draw = ImageDraw.Draw(picture)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        box = (x + 1, y + 4, x + swatch, y + 3 + swatch)
        draw.rectangle(box, fill=tuple(color), outline="black")
        draw.text((x + swatch + 6, y + LINE // 2), name, "black", anchor="lm", font_size=font_size)
    return np.asarray(picture)


def with_legend(picture: Picture, info: DatasetInfo) -> Picture:
    """Returns a picture with the legend of its classes below."""
    return np.concatenate([picture, legend(info, picture.shape[1])])


def iou_bars(iou: Float[np.ndarray, " C"], info: DatasetInfo, longest: int = 400) -> Picture:
    """Draws a bar for the IoU of each class, in its colour, and one for the mean, in grey.

    Args:
      iou: of each class, 0 to 1; NaN for one that does not occur, which has no bar.
      info: names and colours of the classes.
      longest: length of a bar of 1 in pixels.
    """
    font_size = LINE - 8
    known = iou[np.isfinite(iou)]
    mean = float(known.mean()) if known.size else float("nan")
    names = [*info.class_names, "mean"]
    colors = [*map(tuple, info.palette.tolist()), (128, 128, 128)]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = 12 + max(round(measure.textlength(name, font_size=font_size)) for name in names)
    picture = Image.new("RGB", (left + longest + 70, LINE * len(names)), "white")
    draw = ImageDraw.Draw(picture)
    for i, (name, color, value) in enumerate(zip(names, colors, [*iou, mean], strict=True)):
        middle = i * LINE + LINE // 2
        draw.text((left - 6, middle), name, "black", anchor="rm", font_size=font_size)
        end = left
        if np.isfinite(value):
            end = left + round(longest * float(value))
            draw.rectangle((left, middle - 8, end, middle + 8), fill=color, outline="black")
        text = f"{value:.3f}" if np.isfinite(value) else "does not occur"
        draw.text((end + 6, middle), text, "black", anchor="lm", font_size=font_size)
    return np.asarray(picture)


def heat_over(image: Picture, heat: Float[np.ndarray, "h w"], pixel: tuple[int, int]) -> Picture:
    """Lays a map over a grey copy of an image: red where it is largest; the pixel has a cross.

    Args:
      image: that the map is of.
      heat: at least 0, of any size.
      pixel: row and column in the image.
    """
    height, width = image.shape[:2]
    scaled = Image.fromarray((heat / max(heat.max(), 1e-30)).astype(np.float32))
    share = np.asarray(scaled.resize((width, height), Image.Resampling.BILINEAR))[..., None]
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
