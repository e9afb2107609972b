"""Images from users, checked as they are read.

`read_image` is for published datasets: the pixels as they are stored. `read_photo` is for people's
own folders: whatever kind of file it is, the pixels as a viewer shows them.
"""

import contextlib
import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from sassn_jax.data.limits import FileLimits, check_pixels
from sassn_jax.errors import InputError, UnreadableError, one_line

T = TypeVar("T")

# Pillow may try no other format: its reader of EPS runs programs.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
_FORMATS = {".jpg": "JPEG", ".png": "PNG"}  # of published images, by the end of a file's name
UNPACKED = 2**28  # bytes, the most that one file in a zip file may take: images hardly shrink there
BAND = 2**22  # pixels that are computed with at a time
# How to turn stored pixels so that they are shown upright, by the EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Photo:
    """An image of a user, as a viewer shows it.

    Attributes:
      content: of a JPEG or PNG file of these pixels, whose EXIF orientation is 1.
      pixels: RGB.
      turn: the EXIF orientation of the user's file, which has been applied; see `orientation`.
    """

    content: bytes
    pixels: UInt8[np.ndarray, "H W 3"]
    turn: int


def read_photo(path: Traversable, max_pixels: int = FileLimits.max_pixels) -> Photo:
    """Reads an image of any kind that `photo_pixels` knows: JPEG, PNG, WebP, TIFF or BMP.

    The ending of the file's name need not be that of its format. Of several pages or frames it is
    the first. What a reader of JPEG and PNG files would show otherwise is encoded anew as PNG.

    Raises:
      UnreadableError: if the file is empty, damaged or of another format.
      InputError: if it is missing, or has more pixels than `max_pixels`.
    """
    content = read_bytes(path)

    def read(image: Image.Image) -> Photo:
        turn, mode = _orientation(image), image.mode
        is_plain = image.format in ("JPEG", "MPO", "PNG") and mode in ("RGB", "L") and turn == 1
        is_plain = is_plain and not image.has_transparency_data
        pixels = photo_pixels(image)
        return Photo(content if is_plain else encode_png(pixels), pixels, turn)

    return decode(path, content, read, formats=PHOTO_FORMATS, max_pixels=max_pixels)


def photo_pixels(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the pixels of an image as a viewer shows them: turned by EXIF, RGB of 8 bits.

    | mode of the image in Pillow                | what is returned                                |
    |--------------------------------------------|-------------------------------------------------|
    | grey, palette, CMYK, 1 bit                 | RGB, as Pillow converts it                      |
    | RGBA, grey with alpha, transparent colours | the image on white                              |
    | grey of 16 or 32 bits or of floats         | its smallest value as 0, its largest as 255     |
    | colours of 16 bits                         | the upper 8 bits, the only ones that Pillow has |

    Raises:
      ValueError: if a value of a float image is not finite, or Pillow cannot convert the colours.
    """
    image.load()  # turns a TIFF, and takes the orientation out of it
    turn = _orientation(image)
    if _is_deep(image.mode):
        return turned(np.repeat(_stretched(np.asarray(image))[..., None], 3, axis=-1), turn)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return turned(np.asarray(image.convert("RGB")), turn)


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Turns uint8 pixels, `[H, W]` or `[H, W, 3]`, as the EXIF orientation `turn` asks for."""
    if turn == 1:
        return pixels
    return np.asarray(Image.fromarray(pixels).transpose(_TURNS[turn]))


def photo_notes(paths: Mapping[str, Traversable]) -> tuple[str, ...]:
    """Returns one line for each way in which `read_photo` changes some of the images.

    Only the beginning of each file is read. Files that cannot be read are passed over.

    Args:
      paths: the files by the names that the lines give them.
    """
    found: dict[str, list[str]] = {}
    for name, path in paths.items():
        try:
            with path.open("rb") as file, opened(file, PHOTO_FORMATS) as image:
                kinds = {
                    "transparent pixels: they are read on white": image.has_transparency_data,
                    "grey values of more than 8 bits: in each, its smallest value is read as 0 and "
                    "its largest as 255": _is_deep(image.mode),
                    "an EXIF orientation: they are turned as it says": _orientation(image) != 1,
                }
        except Exception:  # `read_photo` names the file
            continue
        for kind in (kind for kind, is_so in kinds.items() if is_so):
            found.setdefault(kind, []).append(name)
    return tuple(
        f"images with {kind} ({len(names)}, such as {names[0]})"
        for kind, names in sorted(found.items())
    )


def read_image(
    path: Traversable, max_pixels: int = FileLimits.max_pixels
) -> tuple[bytes, UInt8[np.ndarray, "H W 3"]]:
    """Reads a `.jpg` or `.png` image.

    Returns:
      The content of the file, and its pixels.

    Raises:
      InputError: if the file is missing or damaged, if its format is not that of its name, if it
        has channels of 16 bits, or more pixels than `max_pixels`.
    """
    content = read_bytes(path)
    return content, decode(path, content, decode_image, max_pixels=max_pixels)


def orientation(content: bytes) -> int:
    """Returns how an image is to be shown, by the EXIF orientation in its file.

    Returns:
      1 as stored, 3 upside down, 6 and 8 turned by 90 degrees, the others up to 8 mirrored
      (EXIF 2.32, tag 0x0112). It is 1 if the file has no orientation or cannot be read.
    """
    try:
        with opened(io.BytesIO(content), tuple(_FORMATS.values())) as image:
            return _orientation(image)
    except Exception:  # damaged files fail in many ways; who reads the pixels names the file
        return 1


def read_bytes(path: Traversable) -> bytes:
    """Reads a file, which may be in a zip file.

    Raises:
      InputError: if the file is missing; or if, in a zip file, it is damaged, encrypted, or packed
        by a method that Python lacks, such as the Deflate64 of Windows; or if it takes more than
        256 MiB once it is unpacked.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, but its id is in a list")
    if not isinstance(path, zipfile.Path):
        return path.read_bytes()
    if path.root.getinfo(path.at).file_size > UNPACKED:
        raise InputError(f"{path}: takes more than {UNPACKED} bytes once it is unpacked")
    try:
        return path.read_bytes()
    # `zipfile` raises a RuntimeError for encryption and for methods that it lacks, and an OSError
    # for places before the beginning of the file. Names that are not in the encoding that they
    # claim are a UnicodeError.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be unpacked ({one_line(error)[:300]})") from None


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
    path: Traversable,
    content: bytes,
    read: Callable[[Image.Image], T],
    what: str = "an image",
    formats: tuple[str, ...] = (),
    max_pixels: int = FileLimits.max_pixels,
) -> T:
    """Opens the content of an image file and returns what `read` makes of it.

    Args:
      path: of the file, for messages.
      content: of the file.
      read: is given the opened image. It may raise an InputError for an image that is whole but
        cannot be used, and any other error for a damaged one.
      what: the file should hold, for messages.
      formats: that are allowed; without them, the one of the file's name.
      max_pixels: see `FileLimits`.

    Raises:
      UnreadableError: if the file is damaged or has another format.
      InputError: if the image has more pixels than that, or if `read` raises one.
    """
    formats = formats or (_FORMATS[PurePath(path.name).suffix.lower()],)
    try:
        with opened(io.BytesIO(content), formats, max_pixels) as image:
            return read(image)
    except InputError as error:
        raise InputError(f"{path}: cannot be read as {what} ({error})") from None
    except UnidentifiedImageError:  # its text has an address in memory
        named = " or ".join(filter(None, [", ".join(formats[:-1]), formats[-1]]))
        reason = f"not a {named} file" if content else "the file is empty"
    except Exception as error:  # damaged files fail in many ways
        reason = one_line(error)[:300]
    raise UnreadableError(f"{path}: cannot be read as {what} ({reason})")


@contextlib.contextmanager
def opened(
    file: Any, formats: tuple[str, ...], max_pixels: int = FileLimits.max_pixels
) -> Iterator[Image.Image]:
    """Opens an image by Pillow, of which this reads the header alone.

    Args:
      file: that has been opened to read bytes.
      formats: Pillow's names of the formats that are allowed.
      max_pixels: see `FileLimits`. Pillow's own warning of large images is left out.

    Raises:
      InputError: if the image has more pixels than that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=tuple(formats))
        except Image.DecompressionBombError as error:  # more than any `max_pixels`
            raise InputError(f"{error}; make it smaller") from None
        with image:
            check_pixels(*image.size, max_pixels)
            yield image


def encode_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Returns an image or a mask as the content of a PNG file."""
    file = io.BytesIO()
    # Photos hardly shrink at a higher level, which takes six times as long.
    Image.fromarray(pixels).save(file, "PNG", compress_level=6 if pixels.ndim == 2 else 3)
    return file.getvalue()


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8, of an opened image."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data fail in many ways, and pixels are readable without them
        return 1
    return value if value in range(1, 9) else 1


def _is_deep(mode: str) -> bool:
    """Whether an image of this mode in Pillow has one channel of more than 8 bits."""
    return mode[0] in "IF"


def _stretched(values: np.ndarray) -> UInt8[np.ndarray, "H W"]:
    """Returns values of any range as 0 to 255; all 0 if they are all the same."""
    low, high = (float(x) for x in (values.min(), values.max()))
    if not np.isfinite(high - low):
        raise ValueError("has values that are not finite")
    stretched = np.empty(values.shape, np.uint8)
    rows = max(1, BAND // values.shape[1])  # float64 of a whole image could fill the memory
    for top in range(0, len(values), rows):
        band = values[top : top + rows].astype(np.float64)
        stretched[top : top + rows] = np.rint((band - low) * (255 / ((high - low) or 1)))
    return stretched
