"""Makes a small folder in the layout of Cityscapes."""

import numpy as np
from PIL import Image

IDS = {
    "train": ("aachen_000000_000019", "aachen_000001_000019", "ulm_000002_000019"),
    "val": ("munster_000173_000019",),
}
# The number of images of each city.
CITIES = {"train": {"aachen": 2, "ulm": 1}, "val": {"munster": 1}}
IMAGE, LABEL = (
    "leftImg8bit/{split}/{city}/{id}_leftImg8bit.png",
    "gtFine/{split}/{city}/{id}_gtFine_",
)


def path_of(pattern, split, id_):
    return pattern.format(split=split, city=id_.split("_")[0], id=id_)


def image_of(id_, size=(8, 16)):
    rng = np.random.default_rng(int(id_[-10:-7]))
    return rng.integers(0, 256, (*size, 3), np.uint8)


def label_of(id_, size=(8, 16)):
    """Returns a mask; each label id occurs in at least 3 of 4 masks."""
    rng = np.random.default_rng(int(id_[-10:-7]) + 99)
    return rng.permutation(np.arange(size[0] * size[1]) % 34).reshape(size).astype(np.uint8)


def write(root, size=(8, 16)):
    """Writes both archives unpacked: four images with public masks, all of the same size."""
    for split, ids in {**IDS, "test": ("bonn_000000_000019",)}.items():
        for id_ in ids:
            image, label = (root / path_of(pattern, split, id_) for pattern in (IMAGE, LABEL))
            for path in (image, label):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image_of(id_, size)).save(image)
            Image.fromarray(label_of(id_, size)).save(f"{label}labelIds.png")
            Image.fromarray(label_of(id_, size).astype(np.uint16)).save(f"{label}instanceIds.png")
            Image.fromarray(image_of(id_, size)).save(f"{label}color.png")
            label.with_name(f"{label.name}polygons.json").write_text("{}")
