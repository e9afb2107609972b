"""A folder of photos as people have them: every kind of file, and some that cannot be read."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ground", "box", "sky")
BROKEN = {"broken", "empty"}  # ids whose image cannot be read
STRAY = {"stray"}  # ids whose mask has an id that classes.txt does not name
TURN_RIGHT = 6  # EXIF: shown turned by 90 degrees clockwise
_SIZE = (40, 56)  # height and width of most photos


def make(folder: Path) -> Path:
    """Makes `images/`, `labels/` and `classes.txt` in a folder, and returns it."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name / "nested" / "deep").mkdir(parents=True)
    (folder / "classes.txt").write_bytes("\r\n".join(CLASSES).encode("utf-8-sig"))

    for id_, suffix, mode in (
        ("plain0", ".jpg", "RGB"),
        ("plain1", ".jpg", "RGB"),
        ("plain2", ".png", "RGB"),
        ("UPPER", ".JPG", "RGB"),
        ("Größe 照片", ".jpeg", "RGB"),
        ("name with spaces", ".png", "RGB"),
        ("nested/deep/far", ".jpg", "RGB"),
        ("nested/webp", ".webp", "RGB"),
        ("tiff", ".tiff", "RGB"),
        ("bmp", ".bmp", "RGB"),
        ("grey", ".png", "L"),
        ("palette", ".png", "P"),
        ("alpha", ".png", "RGBA"),
        ("grey_alpha", ".png", "LA"),
        ("one_bit", ".png", "1"),
        ("cmyk", ".jpg", "CMYK"),
        ("sixteen", ".png", "I;16"),
    ):
        mask = _mask(rng, *_SIZE)
        _save(folder, id_, suffix, _photo(rng, mask, mode), mask)

    mask = _mask(rng, *_SIZE)  # stored turned; the mask is of the photo as shown
    exif = Image.Exif()
    exif[0x0112] = TURN_RIGHT
    stored = _photo(rng, np.rot90(mask, 1), "RGB")
    stored.save(folder / "images" / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(mask).save(folder / "labels" / "turned.png")

    _save(folder, "dot", ".png", Image.new("RGB", (1, 1)), np.zeros((1, 1), np.uint8))
    tall = np.zeros((4000, 20), np.uint8)
    tall[::2] = 1
    _save(folder, "tall", ".png", _photo(rng, tall, "RGB"), tall)
    for i in range(6):  # without a mask
        _photo(rng, _mask(rng, *_SIZE), "RGB").save(folder / "images" / f"plain photo {i}.jpg")
    (folder / "images" / ".DS_Store").write_bytes(b"\0")

    mask = _mask(rng, *_SIZE)
    _save(folder, "broken", ".jpg", _photo(rng, mask, "RGB"), mask)
    path = folder / "images" / "broken.jpg"
    path.write_bytes(path.read_bytes()[:200])
    (folder / "images" / "empty.png").write_bytes(b"")
    Image.fromarray(mask).save(folder / "labels" / "empty.png")
    stray = mask.copy()
    stray[:2, :3] = 7
    _save(folder, "stray", ".jpg", _photo(rng, mask, "RGB"), stray)
    return folder


def _mask(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Class ids `[height, width]`: a box before ground and sky."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 3] = 2
    top, left = rng.integers(8, height - 16), rng.integers(0, width - 16)
    mask[top : top + 16, left : left + 16] = 1
    return mask


def _photo(rng: np.random.Generator, mask: np.ndarray, mode: str) -> Image.Image:
    """A noisy picture whose grey levels follow the mask, in one of Pillow's modes."""
    grey = np.array([60, 200, 120], np.float32)[mask] + rng.normal(0, 10, mask.shape)
    rgb = Image.fromarray(np.stack([grey, 0.9 * grey, 0.8 * grey], -1).clip(0, 255).astype("uint8"))
    if mode == "I;16":
        return Image.fromarray((grey.clip(0, 255) * 256).astype(np.uint16))
    if mode in ("RGBA", "LA"):
        image = rgb.convert(mode)
        image.putalpha(200)
        return image
    return rgb.convert(mode)


def _save(folder: Path, id_: str, suffix: str, image: Image.Image, mask: np.ndarray) -> None:
    image.save(folder / "images" / f"{id_}{suffix}")
    Image.fromarray(mask).save(folder / "labels" / f"{id_}.png")
