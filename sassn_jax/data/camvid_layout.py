"""A plain folder of images and masks, as CamVid comes, read with suspicion.

classes.txt                    class names, one a line, in order of class id
train.txt, val.txt, test.txt   image ids, one a line
images/ID.jpg                  RGB
labels/ID.png                  one channel of class ids; 255 = ignore
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """What a folder's lists say.

    Attributes:
      root: the folder.
      class_names: in order of class id.
      splits: ids of the images of each split, in the order of its list.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]

    def image(self, id_: str) -> Path:
        """The file of an image."""
        return self.root / "images" / f"{id_}.jpg"

    def label(self, id_: str) -> Path:
        """The file of an image's mask."""
        return self.root / "labels" / f"{id_}.png"


def read_layout(root: str | os.PathLike[str]) -> Layout:
    """Reads the lists of a folder; looks at no image.

    Raises:
      InputError: where the folder or a list is missing, empty, or names an id twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with images/, labels/, classes.txt")
    names = _read_list(root / "classes.txt", "class names")
    if len(names) > IGNORE_LABEL:
        raise InputError(f"{root / 'classes.txt'}: {len(names)} classes; at most {IGNORE_LABEL}")
    splits = {split: _read_list(root / f"{split}.txt", "image ids") for split in SPLITS}
    return Layout(root, names, splits)


def _read_list(path: Path, what: str) -> tuple[str, ...]:
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


def check_files(layout: Layout, progress: Callable[[], None] = lambda: None) -> None:
    """Decodes every image and mask.

    Args:
      layout: of the folder.
      progress: called after each image.

    Raises:
      InputError: names the first file that is missing, unreadable, of another size than its mask or
        image, or holds a class id that is not in the class list.
    """
    for ids in layout.splits.values():
        for id_ in ids:
            image = _decode(layout.image(id_), decode_image)
            label = _decode(layout.label(id_), decode_label)
            if image.shape[:2] != label.shape:
                raise InputError(
                    f"{layout.label(id_)}: {_size(label)} pixels, and its image {_size(image)}; "
                    "expected the same width x height"
                )
            wrong = label[(label >= len(layout.class_names)) & (label != IGNORE_LABEL)]
            if wrong.size:
                raise InputError(
                    f"{layout.label(id_)}: class id {wrong[0]}; expected 0 to "
                    f"{len(layout.class_names) - 1} (the lines of classes.txt) or {IGNORE_LABEL}"
                )
            progress()


def decode_image(image: Image.Image) -> np.ndarray:
    """Pixels of an image: uint8 `[H, W, 3]`, RGB."""
    return np.asarray(image.convert("RGB"))


def decode_label(image: Image.Image) -> np.ndarray:
    """Pixels of a mask: uint8 `[H, W]`.

    Raises:
      ValueError: where it has not one channel of 8 bits.
    """
    if image.mode not in ("L", "P"):
        raise ValueError(f"has mode {image.mode}; expected one channel of 8-bit class ids")
    return np.asarray(image)


def _decode(path: Path, decode: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file, but its id is in a list")
    try:
        with Image.open(path) as image:
            return decode(image)
    except PermissionError:
        raise
    # Pillow reports a damaged file by any of these.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an image ({reason})") from None


def _size(array: np.ndarray) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"
