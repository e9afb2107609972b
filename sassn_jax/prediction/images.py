"""Photos as people hand them over, as RGB pixels."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from sassn_jax.data.images import photo_pixels
from sassn_jax.errors import InputError, one_line
from sassn_jax.files import expanded

Photo = str | os.PathLike[str] | Image.Image | np.ndarray

# By the end of a file's name, in small letters. Pillow may try no other format: its reader of EPS
# runs programs.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_ALLOWED = (
    "a path, a PIL image, or uint8 [H, W, 3] (RGB), [H, W] (grey) or [H, W, 4] (RGBA), with "
    "values of 0 to 255"
)


def as_rgb(photo: Photo) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the pixels of a photo, as it is shown: turned as its EXIF orientation says.

    Pixels are read as training reads them, see `data.images.photo_pixels`.

    Args:
      photo: the path of an image file; a PIL image; or uint8 `[H, W, 3]` (RGB), `[H, W]` (grey) or
        `[H, W, 4]` (RGBA).

    Raises:
      InputError: if it is something else, or if the file cannot be read.
    """
    if isinstance(photo, str | os.PathLike):
        return _read(expanded(photo))
    if isinstance(photo, Image.Image):
        return _pixels("image", photo)
    if not isinstance(photo, np.ndarray):
        raise InputError(f"image: expected {_ALLOWED}, but it is a {type(photo).__name__}")
    channels = photo.shape[2] if photo.ndim == 3 else 0
    is_image = photo.ndim == 2 or channels in (3, 4)
    if photo.dtype != np.uint8 or not is_image or not photo.size:
        raise InputError(f"image: expected {_ALLOWED}, but it is {photo.dtype} {photo.shape}")
    if channels == 3:
        return photo
    return photo_pixels(Image.fromarray(np.ascontiguousarray(photo)))


def _read(path: Path) -> np.ndarray:
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: expected an image that ends in one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            # Large photos are welcome. Pillow still refuses one of more than 179 megapixels.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Photos from the web often have the ending of another format.
            with Image.open(path, formats=sorted({*FORMATS.values()})) as image:
                return _pixels(path, image)
    except UnidentifiedImageError:
        reason = "it is of none of these formats, or damaged" if path.stat().st_size else "empty"
    except Image.DecompressionBombError as error:
        reason = one_line(error)
    raise InputError(f"{path}: cannot be read as an image ({reason})")


def _pixels(name: object, image: Image.Image) -> np.ndarray:
    """Returns the pixels of an opened image; raises InputError, which begins with its `name`."""
    if not all(image.size):
        raise InputError(f"{name}: has no pixels")
    try:
        return photo_pixels(image)
    except (OSError, ValueError, SyntaxError) as error:  # damage
        raise InputError(f"{name}: cannot be read as an image ({one_line(error)})") from None
