"""Masks that others made: PNG files of class ids, of any bit depth, read with suspicion."""

import functools
from importlib.resources.abc import Traversable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data import png
from sassn_jax.data.dataset import IGNORE_LABEL, check_class_ids
from sassn_jax.data.images import decode, encode_png, read_bytes, size
from sassn_jax.errors import InputError

# By what Pillow multiplies the values of a grey image of so many bits, to widen them to 8.
_WIDENED = {2: 85, 4: 17, 8: 1}
_OPAQUE = 255
# EXIF orientations of images that are shown with height and width exchanged.
_SHOWN_ON_THEIR_SIDE = (5, 6, 7, 8)


def read_label(path: Traversable) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a mask, a `.png` whose pixels are class ids as they are stored in the file.

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

    A colour that is declared transparent (the chunk tRNS, as GIMP writes it with a palette) changes
    nothing in this. What is hidden by an alpha channel is often what a program happened to leave
    there, so that it is refused.

    Returns:
      The mask as the content of a PNG file that any reader reads alike, grey of 8 bits or with a
      palette; and its pixels.

    Raises:
      InputError: where the file is missing, damaged, of another format than its name says, or
        refused as in the table.
    """
    content = read_bytes(path)
    label, is_plain = decode(path, content, functools.partial(_class_ids, content), "a mask")
    return content if is_plain else encode_png(label), label


def decode_label(image: Image.Image) -> np.ndarray:
    """Pixels of a mask as `read_label` gives it: uint8 `[H, W]`.

    Raises:
      ValueError: where it has not one channel of 8 bits.
    """
    if image.mode not in ("L", "P"):
        raise ValueError(f"has mode {image.mode}; expected one channel of 8-bit class ids")
    return np.asarray(image)


def check_label(
    path: Traversable,
    label: UInt8[np.ndarray, "H W"],
    image: UInt8[np.ndarray, "h w 3"],
    num_ids: int,
    orientation: int = 1,
) -> None:
    """Checks that a mask fits its image, and has no ids but 0 to `num_ids - 1` and 255.

    Args:
      path: of the mask, for messages.
      label: the mask.
      image: as it is stored.
      num_ids: how many ids there are.
      orientation: of the image by its EXIF data, see `images.orientation`.

    Raises:
      InputError: names the file of the mask.
    """
    if image.shape[:2] != label.shape:
        expected = "expected the same width x height"
        if orientation in _SHOWN_ON_THEIR_SIDE and image.shape[1::-1] == label.shape:
            expected = (
                f"by its EXIF orientation {orientation} the image is shown turned: save it turned, "
                "or draw the mask on what is stored"
            )
        raise InputError(f"{path}: {size(label)} pixels, and its image {size(image)}; {expected}")
    check_class_ids(label, path, num_ids)


def _class_ids(content: bytes, image: Image.Image) -> tuple[np.ndarray, bool]:
    """Class ids of a PNG file, and whether they are its pixels as any reader gives them.

    Raises:
      ValueError: where the file is damaged, or does not hold class ids.
    """
    png.check_whole(content)  # a damaged mask has other classes
    depth, pixels = png.bit_depth(content), np.asarray(image)
    if depth == 16 and image.mode != "I;16":
        raise ValueError("has several channels of 16 bits; expected one channel of class ids")
    if image.mode == "I;16":
        if pixels.max() > IGNORE_LABEL:
            raise ValueError(f"has a class id of {pixels.max()}; expected at most {IGNORE_LABEL}")
        return pixels.astype(np.uint8), False
    if image.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != _OPAQUE).any():
            raise ValueError("has transparent pixels; expected one channel of class ids")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (colors := pixels[(pixels != pixels[..., :1]).any(-1)]).size:
            raise ValueError(
                f"has colours, such as {tuple(colors[0].tolist())}; expected class ids, in one "
                "channel or as the indices of a palette"
            )
        return np.ascontiguousarray(pixels[..., 0]), False
    if image.mode == "L":
        return pixels // _WIDENED[depth], depth == 8
    return pixels.astype(np.uint8), image.mode == "P"  # else "1"
