"""Photos as people hand them over, as RGB pixels."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.images import PHOTO_FORMATS, decode, photo_pixels
from sassn_jax.data.limits import FileLimits
from sassn_jax.errors import InputError, one_line
from sassn_jax.files import expanded

Photo = str | os.PathLike[str] | Image.Image | np.ndarray

_ALLOWED = (
    "a path, a PIL image, or uint8 [H, W, 3] (RGB), [H, W] (grey) or [H, W, 4] (RGBA), with "
    "values of 0 to 255"
)


def as_rgb(photo: Photo, max_pixels: int = FileLimits.max_pixels) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the pixels of a photo, as it is shown: turned as its EXIF orientation says.

    Pixels are read as training reads them, see `data.images.photo_pixels`.

    Args:
      photo: the path of an image file; a PIL image; or uint8 `[H, W, 3]` (RGB), `[H, W]` (grey) or
        `[H, W, 4]` (RGBA).
      max_pixels: the most that a file may have, see `FileLimits`.

    Raises:
      InputError: if it is something else, or if the file cannot be read or has more pixels.
    """
    if isinstance(photo, str | os.PathLike):
        return _read(expanded(photo), max_pixels)
    if isinstance(photo, Image.Image):
        return _pixels(photo)
    if not isinstance(photo, np.ndarray):
        raise InputError(f"image: expected {_ALLOWED}, but it is a {type(photo).__name__}")
    channels = photo.shape[2] if photo.ndim == 3 else 0
    is_image = photo.ndim == 2 or channels in (3, 4)
    if photo.dtype != np.uint8 or not is_image or not photo.size:
        raise InputError(f"image: expected {_ALLOWED}, but it is {photo.dtype} {photo.shape}")
    if channels == 3:
        return photo
    return photo_pixels(Image.fromarray(np.ascontiguousarray(photo)))


def _read(path: Path, max_pixels: int) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return decode(path, content, photo_pixels, formats=PHOTO_FORMATS, max_pixels=max_pixels)


def _pixels(image: Image.Image) -> np.ndarray:
    if not all(image.size):
        raise InputError("image: it has no pixels")
    try:
        return photo_pixels(image)
    except (OSError, ValueError, SyntaxError) as error:  # a damaged file, which is read only now
        raise InputError(f"image: cannot be read ({one_line(error)})") from None
