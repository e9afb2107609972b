"""What pictures for people share: font, legend of the classes, name and colours of D's values."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

_WHITE, _GREY = (255, 255, 255), (100, 100, 100)
ROWS = 256  # of a picture that are coloured at a time, since each of their copies takes memory
CONFIDENCE = "discriminator's confidence"  # what pictures call the values of D
SCALE_LENGTH = 20  # of its bar at most, in heights of its letters
SMALLEST = 7  # letters that a scale may have, pixels

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def make_font(size: float) -> Font:
    """Returns DejaVu Sans, which has most alphabets, or else Pillow's own font.

    Args:
      size: of the letters, pixels.
    """
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:  # it is not among the fonts of this system
        return ImageFont.load_default(size)


def shortened(text: str, width: float, font: Font) -> str:
    """Returns a text without its middle, if it is wider than `width` pixels."""
    kept = len(text)
    shorter = text
    while font.getlength(shorter) > width and kept > 1:
        kept -= 1
        shorter = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shorter


def letters_for(width: int, height: int) -> int:
    """Returns the size of letters, in pixels, that can be read below a picture of this size.

    It grows with the picture, since a large picture is looked at made smaller.
    """
    return max(10, round(min((width * height) ** 0.5 / 50, width / 12)))


def draw_legend(
    entries: Sequence[tuple[str, tuple[int, ...]]], width: int, letters: int
) -> UInt8[np.ndarray, "_ W 3"]:
    """Draws colours with their names, in as many lines as they need.

    Args:
      entries: names and RGB colours.
      width: of the picture, pixels. A name that is wider is shown without its middle.
      letters: height of the letters, pixels.
    """
    font, line = make_font(letters), line_height(letters)
    texts = [shortened(name, width - 2 * letters, font) for name, _ in entries]
    places, x, y = [], 0, 0
    for text in texts:
        length = round(2.5 * letters + font.getlength(text))
        if x and x + length - letters > width:  # the space after a name may be cut off
            x, y = 0, y + line
        places.append((x, y))
        x += length
    picture = Image.new("RGB", (width, y + line), _WHITE)
    draw = ImageDraw.Draw(picture)
    for text, (_, color), (x, y) in zip(texts, entries, places, strict=True):
        top = y + (line - letters) // 2
        draw.rectangle((x + 1, top, x + letters, top + letters - 1), fill=color, outline=_GREY)
        middle = (x + round(1.4 * letters), y + line // 2)
        draw.text(middle, text, fill="black", font=font, anchor="lm")
    return np.asarray(picture)


def line_height(letters: int) -> int:
    """Returns the height of a line of a legend, pixels."""
    return round(1.5 * letters)


def heat_map(values: Float[np.ndarray, "H W"]) -> Image.Image:
    """Returns values of 0 to 1 as colours: blue is 0, white 1/2 and red 1."""
    picture = Image.new("RGB", values.shape[::-1])
    for top in range(0, len(values), ROWS):
        rows = values[top : top + ROWS]
        cold = np.clip(2 * rows, 0, 1)  # 1 from the middle up
        hot = np.clip(2 - 2 * rows, 0, 1)  # 1 up to the middle
        colors = np.stack([cold, np.minimum(cold, hot), hot], axis=-1)
        picture.paste(Image.fromarray(np.round(255 * colors).astype(np.uint8)), (0, top))
    return picture


def draw_scale(title: str, width: int, letters: int) -> UInt8[np.ndarray, "_ W 3"]:
    """Draws the colours of `heat_map` as a bar from 0 to 1, and what they are of.

    Args:
      title: what has these colours; left out below a picture that is too narrow for it.
      width: of the picture, pixels.
      letters: height of the letters, pixels; smaller ones are taken where the title is too wide.
    """
    sizes = range(letters, SMALLEST - 1, -1)
    fitting = (n for n in sizes if make_font(n).getlength(f"{title}  0  1") < 0.75 * width)
    size = next(fitting, None)
    begin = "0 " if size is None else f"{title}  0 "
    font, line = make_font(size or SMALLEST), line_height(size or SMALLEST)
    left = 1 + round(font.getlength(begin))
    longest = width - left - round(font.getlength(" 1")) - 2
    length = max(2, min(longest, SCALE_LENGTH * (size or SMALLEST)))
    picture = Image.new("RGB", (width, line), _WHITE)
    bar = heat_map(np.linspace(0, 1, length)[None]).resize((length, line - 4))
    picture.paste(bar, (left, 2))
    draw = ImageDraw.Draw(picture)
    draw.text((1, line // 2), begin, fill="black", font=font, anchor="lm")
    draw.text((left + length, line // 2), " 1", fill="black", font=font, anchor="lm")
    return np.asarray(picture)
