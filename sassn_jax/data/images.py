"""Lists, images and masks that others made, read with suspicion."""

import io
import zipfile
import zlib
from collections.abc import Callable, Collection
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.errors import InputError


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
        lines = path.read_text(encoding="utf-8").splitlines()
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
    """Reads an image.

    Returns:
      The file as it is, and its pixels.

    Raises:
      InputError: where the file is missing or damaged.
    """
    content = read_bytes(path)
    return content, _decode(path, content, decode_image)


def read_label(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a mask: the file as it is, and its pixels.

    Raises:
      InputError: where the file is missing or damaged, or has not one channel of 8 bits.
    """
    content = read_bytes(path)
    return content, _decode(path, content, decode_label)


def read_bytes(path: Traversable) -> bytes:
    """Reads a file, which may be in a zip file.

    Raises:
      InputError: where it is missing, or damaged in its zip file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, but its id is in a list")
    try:
        return path.read_bytes()
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
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
    wrong = label[(label >= num_ids) & (label != IGNORE_LABEL)]
    if wrong.size:
        raise InputError(
            f"{path}: class id {wrong[0]}; expected 0 to {num_ids - 1} or {IGNORE_LABEL}"
        )


def size(array: np.ndarray) -> str:
    """Width x height of an image or mask, for messages."""
    height, width = array.shape[:2]
    return f"{width}x{height}"


def decode_image(image: Image.Image) -> np.ndarray:
    """Pixels of an image: uint8 `[H, W, 3]`, RGB."""
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
    try:
        with Image.open(io.BytesIO(content)) as image:
            return decode(image)
    # Pillow reports a damaged file by any of these.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an image ({reason})") from None


def encode_png(pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> bytes:
    """An image or a mask as the content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
