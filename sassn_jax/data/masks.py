"""Masks from users: PNG files of class ids, checked as they are read."""

import functools
from collections.abc import Callable
from importlib.resources.abc import Traversable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data import png
from sassn_jax.data.dataset import IGNORE_LABEL, check_class_ids
from sassn_jax.data.images import decode, encode_png, orientation, read_bytes, read_image, size
from sassn_jax.errors import InputError

# Pillow widens grey values to 8 bits; the factor by the bits in the file.
_WIDENED = {2: 85, 4: 17, 8: 1}
_OPAQUE = 255
# EXIF orientations that exchange height and width.
_SHOWN_ON_THEIR_SIDE = (5, 6, 7, 8)


def read_label(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a `.png` mask. Its class ids are the numbers that are stored in the file.

    | pixels in the file              | mode in Pillow  | what is read                             |
    |---------------------------------|-----------------|------------------------------------------|
    | grey, 1 bit                     | `1`             | ids 0 and 1                              |
    | grey, 2 or 4 bits               | `L`, widened    | ids as stored: 0 to 3, 0 to 15           |
    | grey, 8 bits                    | `L`             | ids as stored                            |
    | grey, 16 bits                   | `I;16`          | ids as stored; above 255 refused         |
    | palette, 1, 2, 4 or 8 bits      | `P`             | indices of the palette, not its colours  |
    | grey with alpha, 8 bits         | `LA`            | grey values; transparent pixels refused  |
    | RGB, RGBA, 8 bits               | `RGB`, `RGBA`   | the channels' common value; colours and  |
    |                                 |                 | transparent pixels refused               |
    | grey with alpha, RGB(A), 16 bits| `RGBA`, `RGB`   | refused: Pillow drops the lower 8 bits   |

    Transparent pixels are refused because programs often leave arbitrary values in them. A
    transparent colour of a palette (the chunk tRNS, which GIMP writes) has no effect.

    Returns:
      The mask as a PNG file that every reader reads alike: 8-bit grey, or with a palette. And its
      pixels.

    Raises:
      InputError: if the file is missing or damaged, or is refused by the table.
    """
    content = read_bytes(path)
    label, is_plain = decode(path, content, functools.partial(_class_ids, content), "a mask")
    return content if is_plain else encode_png(label), label


def decode_label(image: Image.Image) -> np.ndarray:
    """Returns the pixels, uint8 `[H, W]`, of a mask from a file that `read_label` returned.

    Raises:
      ValueError: if the image has not one channel of 8 bits.
    """
    if image.mode not in ("L", "P"):
        raise ValueError(f"has mode {image.mode}; expected one channel of 8-bit class ids")
    return np.asarray(image)


def read_pair(
    image_path: Traversable,
    label_path: Traversable,
    num_ids: int,
    read: Callable[[Traversable], tuple[bytes, np.ndarray]] = read_label,
) -> tuple[bytes, bytes, UInt8[np.ndarray, "H W"]]:
    """Reads an image, and its mask by `read`, and checks them by `check_label`.

    Returns:
      The content of the image file, the content of a PNG file of the mask, and the mask.
    """
    image_file, image = read_image(image_path)
    label_file, label = read(label_path)
    check_label(label_path, label, image, num_ids, orientation(image_file))
    return image_file, label_file, label


def check_label(
    path: Traversable,
    label: UInt8[np.ndarray, "H W"],
    image: UInt8[np.ndarray, "h w 3"],
    num_ids: int,
    turn: int = 1,
) -> None:
    """Checks that a mask has the size of its image, and only the ids 0 to `num_ids - 1` and 255.

    Raises:
      InputError: names the mask's file `path`. If the mask has the size of the image as it is shown
        by its EXIF orientation `turn`, the message says so.
    """
    if image.shape[:2] != label.shape:
        expected = "expected the same width x height"
        if turn in _SHOWN_ON_THEIR_SIDE and image.shape[1::-1] == label.shape:
            expected = (
                f"the image has the EXIF orientation {turn} and is shown turned: save the image "
                "turned, or draw the mask on the stored pixels"
            )
        raise InputError(
            f"{path}: {size(label)} pixels, but its image has {size(image)}; {expected}"
        )
    check_class_ids(label, path, num_ids)


def _class_ids(content: bytes, image: Image.Image) -> tuple[np.ndarray, bool]:
    """Returns the class ids of a PNG file, and whether every reader would read the same ids.

    Raises:
      ValueError: if the file is damaged or has no class ids.
    """
    png.check_whole(content)  # Pillow would read other classes from a damaged file
    depth, pixels = png.bit_depth(content), np.asarray(image)
    if depth == 16 and image.mode != "I;16":
        raise ValueError("has several channels of 16 bits; expected one channel of class ids")
    if image.mode == "I;16":
        if pixels.max() > IGNORE_LABEL:
            raise ValueError(f"has the class id {pixels.max()}; expected at most {IGNORE_LABEL}")
        return pixels.astype(np.uint8), False
    if image.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != _OPAQUE).any():
            raise ValueError("has transparent pixels; expected one channel of class ids")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (colors := pixels[(pixels != pixels[..., :1]).any(-1)]).size:
            raise ValueError(
                f"has colours, such as {tuple(colors[0].tolist())}; expected class ids in one "
                "channel, or a palette"
            )
        return np.ascontiguousarray(pixels[..., 0]), False
    if image.mode == "L":
        return pixels // _WIDENED[depth], depth == 8
    return pixels.astype(np.uint8), image.mode == "P"  # or "1"
