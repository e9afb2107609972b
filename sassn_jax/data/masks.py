"""Masks from users: files of class ids, checked as they are read."""

import functools
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, TiffImagePlugin

from sassn_jax.data import png
from sassn_jax.data.dataset import IGNORE_LABEL, Color, check_class_ids
from sassn_jax.data.images import (
    BAND,
    Photo,
    decode,
    encode_png,
    opened,
    orientation,
    read_bytes,
    read_image,
    size,
    turned,
)
from sassn_jax.data.limits import FileLimits
from sassn_jax.errors import InputError

_FORMATS = ("PNG", "TIFF", "BMP")
# Pillow widens grey values to 8 bits; the factor by the bits in the file.
_WIDENED = {2: 85, 4: 17, 8: 1}
_OPAQUE = 255
_JPEG = b"\xff\xd8\xff"  # the beginning of every JPEG file
# EXIF orientations that exchange height and width.
_SHOWN_ON_THEIR_SIDE = (5, 6, 7, 8)
_PLACES = np.array([65536, 256, 1], np.uint32)  # a colour as one number
_FEW = 5  # more colours than this in one mask, all of no class, do not come from missing lines


def read_label(
    path: Traversable, colors: Sequence[Color] = (), max_pixels: int = FileLimits.max_pixels
) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
    """Reads a mask: PNG, TIFF or BMP. Its class ids are the numbers that are stored in the file.

    If the classes have `colors`, in order of class id, a mask of RGB, RGBA or with a palette is
    read by them, provided that all its colours are among them.

    | pixels in the file              | mode in Pillow  | what is read                             |
    |---------------------------------|-----------------|------------------------------------------|
    | grey, 1 bit                     | `1`             | ids 0 and 1                              |
    | grey, 2 or 4 bits               | `L`, widened    | ids as stored: 0 to 3, 0 to 15           |
    | grey, 8 bits                    | `L`             | ids as stored                            |
    | grey, 16 bits                   | `I;16`          | ids as stored; above 255 refused         |
    | grey, 32 bits or floats (TIFF)  | `I`, `F`        | the same; not whole numbers: refused     |
    | palette, 1, 2, 4 or 8 bits      | `P`             | indices of the palette, not its colours  |
    | grey with alpha, 8 bits         | `LA`            | grey values; transparent pixels refused  |
    | RGB, RGBA, 8 bits               | `RGB`, `RGBA`   | the channels' common value; colours and  |
    |                                 |                 | transparent pixels refused               |
    | grey with alpha, RGB(A), 16 bits| `RGBA`, `RGB`   | refused: Pillow drops the lower 8 bits   |

    Transparent pixels are refused because programs often leave arbitrary values in them. A
    transparent colour of a palette (the chunk tRNS, which GIMP writes) has no effect. A mask with
    an EXIF orientation is turned as it says. Of several pages it is the first.

    Returns:
      The mask as a PNG file that every reader reads alike: 8-bit grey, or with a palette. And its
      pixels.

    Raises:
      UnreadableError: if the file is damaged, or of another format.
      InputError: if the file is missing, a JPEG file, has more pixels than `max_pixels`, or is
        refused by the table.
    """
    content = read_bytes(path)
    if content.startswith(_JPEG):
        raise InputError(
            f"{path}: cannot be read as a mask (a JPEG file: JPEG changes class ids, most of all "
            "at edges, so export the mask as PNG)"
        )
    read = functools.partial(_class_ids, content, colors)
    label, is_plain = decode(path, content, read, "a mask", _FORMATS, max_pixels)
    if (turn := orientation(content)) != 1:
        label, is_plain = turned(label, turn), False
    return content if is_plain else encode_png(label), label


def has_palette(path: Traversable, palette: UInt8[np.ndarray, "256 3"] | None = None) -> bool:
    """Whether the pixels of a mask are indices of a palette: of any, or of this one.

    It is False for a file that `read_label` cannot read.
    """
    try:
        with path.open("rb") as file, opened(file, _FORMATS) as image:
            if image.mode != "P" or palette is None:
                return image.mode == "P"
            return image.getpalette("RGB") == palette.ravel().tolist()
    except Exception:  # damaged files fail in many ways; `read_label` names the file
        return False


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
    max_pixels: int = FileLimits.max_pixels,
) -> tuple[bytes, bytes, UInt8[np.ndarray, "H W"]]:
    """Reads an image, and its mask by `read`, and checks them by `check_label`.

    Returns:
      The content of the image file, the content of a PNG file of the mask, and the mask.
    """
    image_file, image = read_image(image_path, max_pixels)
    label_file, label = read(label_path)
    check_label(label_path, label, image, num_ids)
    return image_file, label_file, label


def check_label(
    path: Traversable,
    label: UInt8[np.ndarray, "H W"],
    image: UInt8[np.ndarray, "h w 3"],
    num_ids: int,
) -> None:
    """Checks that a mask has the size of its image, and only the ids 0 to `num_ids - 1` and 255.

    Raises:
      InputError: names the mask's file `path`.
    """
    if image.shape[:2] != label.shape:
        raise InputError(
            f"{path}: {size(label)} pixels, but its image has {size(image)}; expected the same "
            "width x height"
        )
    check_class_ids(label, path, num_ids)


def as_shown(
    path: Traversable, label: UInt8[np.ndarray, "h w"], photo: Photo
) -> UInt8[np.ndarray, "H W"]:
    """Returns a mask turned so that it lies on its photo, which has been turned by EXIF.

    A mask of the size in which the photo is shown is taken as drawn on what is shown. This holds
    for all photos that are shown upside down or mirrored, since their two sizes are equal. A mask
    that has only the size of the stored pixels is turned as the photo was.

    Raises:
      InputError: names the mask's file `path`, if it has neither size.
    """
    check_size(path, label.shape, photo)
    return label if label.shape == photo.pixels.shape[:2] else turned(label, photo.turn)


def check_size(path: Traversable, shape: tuple[int, ...], photo: Photo) -> None:
    """Checks that a mask of a height and width can be that of a photo; see `as_shown`.

    Raises:
      InputError: names the mask's file `path`.
    """
    height, width = photo.pixels.shape[:2]
    is_on_its_side = photo.turn in _SHOWN_ON_THEIR_SIDE
    if shape == (height, width) or (is_on_its_side and shape == (width, height)):
        return
    of_image, expected = f"{width}x{height}", "expected the same width x height"
    if is_on_its_side:
        of_image += f" as its EXIF orientation {photo.turn} shows it, {height}x{width} as stored"
        expected = "expected one of these sizes"
    raise InputError(
        f"{path}: {shape[1]}x{shape[0]} pixels, but its image has {of_image}; {expected}"
    )


def _class_ids(
    content: bytes, colors: Sequence[Color], image: Image.Image
) -> tuple[np.ndarray, bool]:
    """Returns the class ids of a file, and whether every reader would read the same ids from it.

    Raises:
      InputError: if the file is whole, but has no class ids.
      ValueError: if it is damaged.
    """
    depth, pixels = _bit_depth(content, image), np.asarray(image)
    if image.mode[0] in "IF":  # one channel of more than 8 bits
        is_id = (pixels >= 0) & (pixels <= IGNORE_LABEL)
        if image.mode == "F":
            is_id &= pixels == np.floor(pixels)
        if not is_id.all():
            raise InputError(
                f"has the class id {pixels[~is_id].max():g}; expected whole numbers from 0 to "
                f"{IGNORE_LABEL}"
            )
        return pixels.astype(np.uint8), False
    if depth == 16:
        raise InputError("has several channels of 16 bits; expected one channel of class ids")
    if image.mode not in ("1", "L", "P", "LA", "RGB", "RGBA"):
        raise InputError(f"has mode {image.mode}; expected grey values, a palette or RGB")
    if image.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != _OPAQUE).any():
            raise InputError("has transparent pixels; expected one channel of class ids")
        pixels = pixels[..., :-1]
    if colors and image.mode in ("RGB", "RGBA", "P"):
        shown = pixels if image.mode != "P" else np.asarray(image.convert("RGB"))
        label, unknown = _of_colors(shown, colors)
        if not unknown.size:
            return label, False
        if image.mode != "P" and (pixels != pixels[..., :1]).any():
            raise InputError(_strange_colors(unknown, label.size))
    if pixels.ndim == 3:
        if (strange := pixels[(pixels != pixels[..., :1]).any(-1)]).size:
            raise InputError(
                f"has colours, such as {tuple(strange[0].tolist())}; expected class ids in one "
                "channel, a palette, or the colours in classes.txt as lines NAME RED GREEN BLUE"
            )
        return np.ascontiguousarray(pixels[..., 0]), False
    is_png = image.format == "PNG"
    if image.mode == "L":
        return pixels // _WIDENED[depth], is_png and depth == 8
    return pixels.astype(np.uint8), is_png and image.mode == "P"  # or "1"


def _bit_depth(content: bytes, image: Image.Image) -> int:
    """Returns the bits per channel of an opened mask.

    Raises:
      InputError: if Pillow would read other classes than those in the file.
      ValueError: if the file is damaged.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if "jpeg" in str(image.info.get("compression")):
            raise InputError("a TIFF file with JPEG compression, which changes class ids")
        return int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
    if image.format == "PNG":
        png.check_whole(content)
        return png.bit_depth(content)
    bits = content[28]
    if bits != {"1": 1, "L": 8}.get(image.mode, bits):  # Pillow takes the wrong number for these
        raise InputError("a BMP file with a short palette of grey values; export it as PNG")
    return 8


def _of_colors(
    pixels: UInt8[np.ndarray, "H W 3"], colors: Sequence[Color]
) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "N 3"]]:
    """Returns the class id of each pixel's colour, and the pixels of other colours."""
    listed = np.array(colors, np.uint32) @ _PLACES
    order = np.argsort(listed)
    label, unknown = np.empty(pixels.shape[:2], np.uint8), []
    rows = max(1, BAND // pixels.shape[1])  # of a whole image these numbers could fill the memory
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows]
        numbers = band.astype(np.uint32) @ _PLACES
        nearest = np.searchsorted(listed, numbers, sorter=order).clip(max=len(colors) - 1)
        label[top : top + rows] = order[nearest]
        unknown.append(band[listed[order[nearest]] != numbers])
    return label, np.concatenate(unknown)


def _strange_colors(pixels: UInt8[np.ndarray, "N 3"], total: int) -> str:
    """Returns the message for the pixels of a mask, of `total`, whose colours are of no class."""
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    color = " ".join(map(str, found[counts.argmax()].tolist()))
    what = "a colour" if len(found) == 1 else f"{len(found)} colours"
    remedy = (
        f"add its class there, or `ignore {color}` if it stands for pixels without a class, or "
        "correct the mask"
    )
    if len(found) > _FEW:
        remedy = "the edges seem to be smoothed between classes: export the mask without that"
    return (
        f"{len(pixels)} of {total} pixels have {what} that classes.txt lacks, most often {color}; "
        f"{remedy}"
    )
