"""Lists, images and masks that others made, read with suspicion."""

import io
import zipfile
import zlib
from collections.abc import Callable, Collection
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from sassn_jax.data.dataset import check_class_ids
from sassn_jax.errors import InputError

# By how a file's name ends. No reader of another format is tried: one that Pillow has, that of EPS,
# runs programs.
_FORMATS = {".jpg": "JPEG", ".png": "PNG"}


def read_list(path: Path, what: str) -> tuple[str, ...]:
    """Reads a list of one entry a line.

    Args:
      path: of the list.
      what: the entries, for messages.

    Raises:
      InputError: where it is missing, empty, not text, or has an entry twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a list of {what}, one a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; expected {what}, one a line") from None
    entries = tuple(line.strip() for line in lines if line.strip())
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
    found = {path.name for path in folder.iterdir()}
    if missing := expected - found:
        raise InputError(
            f"{folder / min(missing)}: no such file, but in {lists}{name_several(missing)}"
        )
    if not others and (extra := found - expected):
        raise InputError(
            f"{folder / min(extra)}: not in {lists}{name_several(extra)}; remove it, or complete "
            "the list"
        )


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
    return content, _decode(path, content, decode_image)


def read_label(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a mask, a `.png`: the file as it is, and its pixels.

    Raises:
      InputError: where the file is missing, damaged, of another format than its name says, or has
        not one channel of 8 bits.
    """
    content = read_bytes(path)
    return content, _decode(path, content, decode_label)


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


def check_label(
    path: Traversable,
    label: UInt8[np.ndarray, "H W"],
    image: UInt8[np.ndarray, "h w 3"],
    num_ids: int,
) -> None:
    """Checks that a mask fits its image, and has no ids but 0 to `num_ids - 1` and 255.

    Raises:
      InputError: names the file of the mask.
    """
    if image.shape[:2] != label.shape:
        raise InputError(
            f"{path}: {size(label)} pixels, and its image {size(image)}; "
            "expected the same width x height"
        )
    check_class_ids(label, path, num_ids)


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


def decode_label(image: Image.Image) -> np.ndarray:
    """Pixels of a mask: uint8 `[H, W]`; of one with a palette its indices, not its colours.

    Raises:
      ValueError: where it has not one channel of 8 bits.
    """
    if image.mode not in ("L", "P"):
        raise ValueError(f"has mode {image.mode}; expected one channel of 8-bit class ids")
    return np.asarray(image)


def _decode(
    path: Traversable, content: bytes, decode: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    format_ = _FORMATS[PurePath(path.name).suffix]
    try:
        with Image.open(io.BytesIO(content), formats=[format_]) as image:
            return decode(image)
    except UnidentifiedImageError:  # it names the bytes' address in memory
        reason = f"not a {format_} file"
    # Pillow reports a damaged file by any of these.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
    raise InputError(f"{path}: cannot be read as an image ({reason})")


def encode_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> bytes:
    """An image or a mask as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
