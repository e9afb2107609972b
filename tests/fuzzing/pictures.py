"""Images, masks and annotations for the readers of `readers`, and what those other files share."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 9, 13
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
IDS = RNG.integers(0, 3, (HEIGHT, WIDTH), np.uint8)
COLORS = ((0, 0, 0), (128, 64, 128), (255, 0, 0))
CLASSES = ("background", "road", "car")


def photos(folder: Path) -> None:
    image = Image.fromarray(RGB)
    for suffix in ("jpg", "webp", "tif", "bmp"):
        image.save(folder / f"rgb.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        image.save(folder / f"{compression}.tif", compression=compression)
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(folder / "float.tif")


def pngs(folder: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(folder / "rgb.png")
    image.convert("RGBA").save(folder / "rgba.png")
    image.convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(RGB[..., 0] > 100).save(folder / "bits.png")
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")


def masks(folder: Path) -> None:
    Image.fromarray(IDS).save(folder / "grey.png")
    Image.fromarray(np.array(COLORS, np.uint8)[IDS]).save(folder / "colors.png")
    palette = Image.fromarray(IDS, "P")
    palette.putpalette(np.array(COLORS, np.uint8).ravel().tolist())
    palette.save(folder / "palette.png", bits=2)
    Image.fromarray(IDS.astype(np.uint16)).save(folder / "deep.png")


def other_masks(folder: Path) -> None:
    for suffix in ("tif", "bmp"):
        Image.fromarray(IDS).save(folder / f"grey.{suffix}")
        Image.fromarray(np.array(COLORS, np.uint8)[IDS]).save(folder / f"colors.{suffix}")
    Image.fromarray(IDS.astype(np.float32)).save(folder / "float.tif")


def read_photo(path: Path) -> None:
    from sassn_jax.data.images import orientation, photo_notes, read_photo

    photo_notes({path.name: path})
    orientation(path.read_bytes())
    read_photo(path)


def read_mask(path: Path) -> None:
    from sassn_jax.data.masks import has_palette, read_label
    from sassn_jax.data.proposals import is_proposed

    has_palette(path)
    is_proposed(path)
    read_label(path, COLORS)


def as_rgb(path: Path) -> None:
    from sassn_jax.prediction.images import as_rgb

    as_rgb(path)


def labelme(folder: Path) -> None:
    kinds = {"polygon": 4, "rectangle": 2, "circle": 2, "line": 2, "point": 1, "linestrip": 3}
    shapes = [
        {"label": "road", "shape_type": kind, "points": RNG.uniform(0, 9, (count, 2)).tolist()}
        for kind, count in kinds.items()
    ]
    file = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
    (folder / "a.json").write_text(json.dumps(file))


def coco(folder: Path) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": [10, 20, HEIGHT * WIDTH - 30]}
    packed = {"size": [HEIGHT, WIDTH], "counts": "m036000000000R1"}
    polygon = [RNG.uniform(0, 9, 8).tolist()]
    annotations = [
        {"id": i, "image_id": 1, "category_id": 2, "segmentation": segmentation}
        for i, segmentation in enumerate((polygon, runs, packed))
    ]
    file = {
        "images": [{"id": 1, "file_name": "x/a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "road"}],
    }
    (folder / "coco.json").write_text(json.dumps(file))


def read_annotations(path: Path) -> None:
    from sassn_jax.data.annotations import find_annotated, find_annotations
    from sassn_jax.data.images import Photo

    find_annotated(path.parent, ["a"])
    found = find_annotations(path.parent, ["a"])
    for one in found.values():
        one.draw(CLASSES, Photo(b"", RGB, 1))
