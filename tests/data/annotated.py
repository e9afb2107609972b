"""A photo, and files of LabelMe and COCO that annotate it."""

import json

import numpy as np
from PIL import Image

from sassn_jax.data.annotations import LabelMe
from sassn_jax.data.images import read_photo

HEIGHT, WIDTH = 20, 30
NAMES = ("background", "box", "ball")
BOX = [[4, 3], [12, 3], [12, 9], [4, 9]]


def turned_photo(tmp_path):
    """Returns a photo that is stored WIDTH x HEIGHT and shown after a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    return read_photo(tmp_path / "turned.png")


def shape(label, points, kind="polygon", **others):
    return {"label": label, "points": points, "shape_type": kind, **others}


def labelme(tmp_path, *shapes, size=(HEIGHT, WIDTH)):
    path = tmp_path / "photo.json"
    height, width = size
    content = {"version": "5.0", "shapes": shapes, "imageHeight": height, "imageWidth": width}
    path.write_text(json.dumps({**content, "imagePath": "photo.jpg", "imageData": None}))
    return LabelMe(path)


def coco_file(path, segmentations, file_name="photo.png", category=2, **changes):
    """Writes a file of one image; category 1 is called ball, category 2 box."""
    content = {
        "images": [{"id": 5, "file_name": file_name, "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "box"}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": category, "segmentation": one, "iscrowd": 0}
            for i, one in enumerate(segmentations)
        ],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))
    return path
