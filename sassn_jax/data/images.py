"""Images from users, checked as they are read."""

import io
import zipfile
import zlib
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from sassn_jax.errors import InputError, one_line

T = TypeVar("T")

# By the end of a file's name. Pillow may try no other format: its reader of EPS runs programs.
_FORMATS = {".jpg": "JPEG", ".png": "PNG"}


def read_image(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W 3"]]:
    """Reads a `.jpg` or `.png` image.

    Returns:
      The content of the file, and its pixels.

    Raises:
      InputError: if the file is missing or damaged, if its format is not that of its name, or if
        it has channels of 16 bits.
    """
    content = read_bytes(path)
    return content, decode(path, content, decode_image)


def orientation(content: bytes) -> int:
    """Returns how an image is to be shown, by the EXIF orientation in its file.

    Returns:
      1 as stored, 3 upside down, 6 and 8 turned by 90 degrees, the others up to 8 mirrored
      (EXIF 2.32, tag 0x0112). It is 1 if the file has no orientation or cannot be read.
    """
    try:
        with Image.open(io.BytesIO(content), formats=list(_FORMATS.values())) as image:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data fail in many ways, and pixels are readable without them
        return 1
    return value if value in range(1, 9) else 1


def read_bytes(path: Traversable) -> bytes:
    """Reads a file, which may be in a zip file.

    Raises:
      InputError: if the file is missing; or if, in a zip file, it is damaged, encrypted, or packed
        by a method that Python lacks, such as the Deflate64 of Windows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, but its id is in a list")
    try:
        return path.read_bytes()
    # `zipfile` raises a RuntimeError for encryption and for methods that it lacks.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error})") from None


def size(array: np.ndarray) -> str:
    """Returns "WIDTHxHEIGHT" of an image or mask, for messages."""
    height, width = array.shape[:2]
    return f"{width}x{height}"


def decode_image(image: Image.Image) -> np.ndarray:
    """Returns the pixels of an image as they are stored: uint8 `[H, W, 3]`, RGB.

    The EXIF orientation is ignored. Masks have none, and in published datasets they fit the stored
    pixels.

    Raises:
      ValueError: if the image has one channel of more than 8 bits, which Pillow would clip.
    """
    if image.mode.startswith("I"):
        raise ValueError(f"has mode {image.mode}; expected channels of 8 bits")
    return np.asarray(image.convert("RGB"))


def decode(
    path: Traversable, content: bytes, read: Callable[[Image.Image], T], what: str = "an image"
) -> T:
    """Opens the content of an image file and returns what `read` makes of it.

    Raises:
      InputError: if the file is damaged, if its format is not that of its name, or if `read` raises
        a ValueError. `what` says in the message what the file should hold.
    """
    format_ = _FORMATS[PurePath(path.name).suffix]
    try:
        with Image.open(io.BytesIO(content), formats=[format_]) as image:
            return read(image)
    except UnidentifiedImageError:  # its text has an address in memory
        reason = f"not a {format_} file"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # damage
        reason = one_line(error)
    raise InputError(f"{path}: cannot be read as {what} ({reason})")


def encode_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Returns an image or a mask as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
