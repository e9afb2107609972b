"""A small folder in the layout of `folder` and `camvid`."""

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data.images import read_photo
from tests.data.annotated import HEIGHT, WIDTH

CLASSES = ("Sky", "Road", "Llama")


@pytest.fixture
def source(tmp_path):
    """A folder of 3 images for training, 2 for validation and 1 for tests, all of other sizes."""
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    rng = np.random.default_rng(0)
    for split, count in {"train": 3, "val": 2, "test": 1}.items():
        ids = [f"{split}_{i}" for i in reversed(range(count))]
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for i, id_ in enumerate(ids):
            image = rng.integers(0, 256, (20 + i, 31, 3), np.uint8)
            label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (20 + i, 31))
            Image.fromarray(image).save(root / "images" / f"{id_}.jpg")
            Image.fromarray(label).save(root / "labels" / f"{id_}.png")
    return root


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "photo.png")
    return read_photo(tmp_path / "photo.png")


def labels_of(source, data_dir):
    """Prepares a folder and returns the labels of all its images, in the order of the splits."""
    data.prepare("folder", source, data_dir)
    dataset = data.load("folder", data_dir)
    return [split[i]["label"] for split in dataset.splits.values() for i in range(len(split))]
