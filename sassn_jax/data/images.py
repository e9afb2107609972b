"""Lists and images that others made, read with suspicion."""

import io
import zipfile
import zlib
from collections.abc import Callable, Collection
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from sassn_jax.errors import InputError
from sassn_jax.files import read_lines

T = TypeVar("T")

# What systems leave in folders: macOS its settings and the other halves of files on foreign disks,
# Windows its thumbnails and settings.
_OF_SYSTEMS = {"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX"}
# By how a file's name ends. No reader of another format is tried: one that Pillow has, that of EPS,
# runs programs.
_FORMATS = {".jpg": "JPEG", ".png": "PNG"}


def read_list(
    path: Path, what: str, clean: Callable[[str], str] = lambda entry: entry
) -> tuple[str, ...]:
    """Reads a list of one entry a line.

    Args:
      path: of the list.
      what: the entries, for messages.
      clean: applied to each entry.

    Raises:
      InputError: where it is missing, empty, not text, or has an entry twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a list of {what}, one a line")
    try:
        entries = tuple(map(clean, read_lines(path)))
    except ValueError:
        raise InputError(f"{path}: not a text file; expected {what}, one a line") from None
    if not entries:
        raise InputError(f"{path}: empty; expected {what}, one a line")
    seen: set[str] = set()
    for entry in entries:
        if entry in seen:
            raise InputError(f"{path}: {entry!r} occurs twice; expected each of the {what} once")
        seen.add(entry)
    return entries


def check_folder(
    folder: Path, suffix: str, ids: Collection[str], lists: str, others: bool = False
) -> None:
    """Checks that a folder has a file of each id, and no other.

    Args:
      folder: whose files are named by an id and `suffix`.
      suffix: such as `.png`.
      ids: that have a file.
      lists: where the ids are from, for messages.
      others: whether the folder may have other files as well.

    Raises:
      InputError: names the first files that are missing or too many, and how many there are.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected ID{suffix} for each id in {lists}")
    expected = {f"{id_}{suffix}" for id_ in ids}
    found = {path.name for path in folder.iterdir() if not is_of_system(path.name)}
    if missing := expected - found:
        raise InputError(
            f"{folder / min(missing)}: no such file, but in {lists}{name_several(missing)}"
        )
    if not others and (extra := found - expected):
        raise InputError(
            f"{folder / min(extra)}: not in {lists}{name_several(extra)}; remove it, or complete "
            "the list"
        )


def is_of_system(name: str) -> bool:
    """Whether a file or folder is none of a dataset's, such as `.DS_Store`, `._1.png`, `Thumbs.db`.

    Names that begin with a dot are none of a dataset's.
    """
    return name.startswith(".") or name in _OF_SYSTEMS


def name_several(names: Collection[str]) -> str:
    """The first few of several names and how many there are, for messages; of one, nothing."""
    first = ", ".join(sorted(names)[:3])
    more = ", ..." if len(names) > 3 else ""
    return f" ({len(names)} such: {first}{more})" if len(names) > 1 else ""


def read_image(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W 3"]]:
    """Reads an image, a `.jpg` or `.png`.

    Returns:
      The file as it is, and its pixels.

    Raises:
      InputError: where the file is missing, damaged, of another format than its name says, or has
        channels of 16 bits.
    """
    content = read_bytes(path)
    return content, decode(path, content, decode_image)


def orientation(content: bytes) -> int:
    """How an image file says by its EXIF data that it is to be shown.

    Returns:
      1 as it is stored, 3 upside down, 6 and 8 turned by 90 degrees, the other numbers up to 8
      mirrored (EXIF 2.32, tag 0x0112); 1 where the file says nothing, or cannot be read.
    """
    try:
        with Image.open(io.BytesIO(content), formats=list(_FORMATS.values())) as image:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data fail in many ways, and the pixels can be read without
        return 1
    return value if value in range(1, 9) else 1


def read_bytes(path: Traversable) -> bytes:
    """Reads a file, which may be in a zip file.

    Raises:
      InputError: where it is missing, or damaged in its zip file, or packed in a way that Python
        does not read, as Windows packs what is large (Deflate64), or encrypted.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, but its id is in a list")
    try:
        return path.read_bytes()
    # By a RuntimeError zipfile tells of encryption, and of ways to pack that it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be unpacked ({error})") from None


def size(array: np.ndarray) -> str:
    """Width x height of an image or mask, for messages."""
    height, width = array.shape[:2]
    return f"{width}x{height}"


def decode_image(image: Image.Image) -> np.ndarray:
    """Pixels of an image: uint8 `[H, W, 3]`, RGB.

    They are as they are stored: an orientation in EXIF data is not followed, since masks do not
    have it, and are of the stored pixels in the datasets that are published.

    Raises:
      ValueError: where it has one channel of more than 8 bits, which Pillow would clip.
    """
    if image.mode.startswith("I"):
        raise ValueError(f"has mode {image.mode}; expected channels of 8 bits")
    return np.asarray(image.convert("RGB"))


def decode(
    path: Traversable, content: bytes, read: Callable[[Image.Image], T], what: str = "an image"
) -> T:
    """Returns what `read` makes of an image file.

    Args:
      path: of the file, whose ending says its format.
      content: of the file.
      read: raises ValueError for what it does not take.
      what: the file should hold, for messages.

    Raises:
      InputError: where the file is damaged, of another format, or not taken.
    """
    format_ = _FORMATS[PurePath(path.name).suffix]
    try:
        with Image.open(io.BytesIO(content), formats=[format_]) as image:
            return read(image)
    except UnidentifiedImageError:  # it names the bytes' address in memory
        reason = f"not a {format_} file"
    # Pillow reports a damaged file by any of these.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
    raise InputError(f"{path}: cannot be read as {what} ({reason})")


def encode_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> bytes:
    """An image or a mask as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
