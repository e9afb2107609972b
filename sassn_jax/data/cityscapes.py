"""Cityscapes (Cordts et al. 2016): 2,975 training images of street scenes, 500 for validation.

The source is a folder with `leftImg8bit` and `gtFine`, or the archives in which they are published,
`leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip`, which are read as they are:

leftImg8bit/{train,val}/CITY/ID_leftImg8bit.png
gtFine/{train,val}/CITY/ID_gtFine_labelIds.png    ids of 34 labels, 19 of which are classes

An id is `CITY_SEQUENCE_FRAME`. The annotations of the test split are not public.
"""

import collections
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data import records
from sassn_jax.data.dataset import IGNORE_LABEL, Dataset
from sassn_jax.data.images import (
    encode_png,
    is_of_system,
    name_several,
    read_image,
    size,
)
from sassn_jax.data.masks import check_label, read_label
from sassn_jax.errors import InputError
from sassn_jax.files import expanded

# The names of the dataset, and how many times smaller each side of the images is than published.
VARIANTS = {"cityscapes": 1, "cityscapes_512x1024": 2}
IMAGE_SIZE = (1024, 2048)  # height, width as published
# How many images there are of each city.
CITIES = {
    "train": {
        "aachen": 174,
        "bochum": 96,
        "bremen": 316,
        "cologne": 154,
        "darmstadt": 85,
        "dusseldorf": 221,
        "erfurt": 109,
        "hamburg": 248,
        "hanover": 196,
        "jena": 119,
        "krefeld": 99,
        "monchengladbach": 94,
        "strasbourg": 365,
        "stuttgart": 196,
        "tubingen": 144,
        "ulm": 95,
        "weimar": 142,
        "zurich": 122,
    },
    "val": {"frankfurt": 267, "lindau": 59, "munster": 174},
}
# Colour, and id of the label in the files, of each class.
_CLASSES = {
    "road": ((128, 64, 128), 7),
    "sidewalk": ((244, 35, 232), 8),
    "building": ((70, 70, 70), 11),
    "wall": ((102, 102, 156), 12),
    "fence": ((190, 153, 153), 13),
    "pole": ((153, 153, 153), 17),
    "traffic light": ((250, 170, 30), 19),
    "traffic sign": ((220, 220, 0), 20),
    "vegetation": ((107, 142, 35), 21),
    "terrain": ((152, 251, 152), 22),
    "sky": ((70, 130, 180), 23),
    "person": ((220, 20, 60), 24),
    "rider": ((255, 0, 0), 25),
    "car": ((0, 0, 142), 26),
    "truck": ((0, 0, 70), 27),
    "bus": ((0, 60, 100), 28),
    "train": ((0, 80, 100), 31),
    "motorcycle": ((0, 0, 230), 32),
    "bicycle": ((119, 11, 32), 33),
}
COLORS = {name: color for name, (color, _) in _CLASSES.items()}
_NUM_LABELS = 34
_CLASS_OF_LABEL = np.full(256, IGNORE_LABEL, np.uint8)
_CLASS_OF_LABEL[[label for _, label in _CLASSES.values()]] = np.arange(len(_CLASSES))


def prepare(
    source: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    name: str = "cityscapes",
) -> bool:
    """Writes the images and masks of `source` under `data_dir`, as `records.prepare` does.

    `name` is one of `VARIANTS`. In a smaller one, a pixel of an image is the mean of the pixels
    that it stands for, and a pixel of a mask one of them.
    """
    return records.prepare(name, read_layout(source, VARIANTS[name]), data_dir, progress)


def load(data_dir: str | os.PathLike[str] | None, name: str = "cityscapes") -> Dataset:
    """The dataset that `prepare` wrote; InputError where there is none."""
    return records.load(name, data_dir, COLORS)


@dataclass(frozen=True)
class CityscapesLayout:
    """What the folders hold.

    Attributes:
      images: the folder `leftImg8bit`, which may be in a zip file.
      labels: the folder `gtFine`, likewise.
      factor: how many times smaller each side is to be.
      splits: ids of the images of each split, sorted.
      class_names: in order of class id.
    """

    images: Traversable
    labels: Traversable
    factor: int
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...] = tuple(_CLASSES)

    def paths(self, split: str, id_: str) -> tuple[Traversable, Traversable]:
        """The files of an image and its mask."""
        city = id_.partition("_")[0]
        return (
            self.images / split / city / f"{id_}_leftImg8bit.png",
            self.labels / split / city / f"{id_}_gtFine_labelIds.png",
        )

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """An image and its mask as PNG files; the mask of class ids.

        Raises:
          InputError: names the file that is missing, unreadable, not of the size that all have, or
            holds an id that is no label of Cityscapes.
        """
        image_path, label_path = self.paths(split, id_)
        image_file, image = read_image(image_path)
        if image.shape[:2] != IMAGE_SIZE:
            height, width = IMAGE_SIZE
            raise InputError(f"{image_path}: {size(image)} pixels; expected {width}x{height}")
        _, label = read_label(label_path)
        check_label(label_path, label, image, _NUM_LABELS)
        classes = _CLASS_OF_LABEL[label]
        if self.factor > 1:
            image_file = encode_png(np.asarray(Image.fromarray(image).reduce(self.factor)))
            classes = classes[self.factor // 2 :: self.factor, self.factor // 2 :: self.factor]
        return image_file, encode_png(np.ascontiguousarray(classes))


def read_layout(source: str | os.PathLike[str], factor: int) -> CityscapesLayout:
    """Looks which images and masks there are, and at none of them.

    Raises:
      InputError: where a folder is missing or a zip file damaged, an image has no mask or a mask no
        image, a file is none of the dataset, or a city has not as many images as it should have.
    """
    images, labels = (_open(expanded(source), name) for name in ("leftImg8bit", "gtFine"))
    splits = {split: tuple(sorted(_find_ids(images, labels, split))) for split in CITIES}
    return CityscapesLayout(images, labels, factor, splits)


def _open(source: Path, name: str) -> Traversable:
    if (source / name).is_dir():
        return source / name
    archive = source / f"{name}_trainvaltest.zip"
    if not archive.is_file():
        raise InputError(f"{source / name}: no such folder, and no {archive.name} beside it")
    try:
        return zipfile.Path(archive, f"{name}/")
    except zipfile.BadZipFile as error:
        raise InputError(f"{archive}: cannot be read as a zip file ({error})") from None


def _find_ids(images: Traversable, labels: Traversable, split: str) -> set[str]:
    """Ids of the images of a split, of which each has a mask."""
    with_image = _paths(images / split, "_leftImg8bit.png", others=False)
    with_label = _paths(labels / split, "_gtFine_labelIds.png", others=True)
    if missing := with_image.keys() - with_label.keys():
        raise InputError(f"{with_image[min(missing)]}: has no mask{name_several(missing)}")
    if missing := with_label.keys() - with_image.keys():
        raise InputError(f"{with_label[min(missing)]}: has no image{name_several(missing)}")
    counts = collections.Counter(id_.partition("_")[0] for id_ in with_image)
    for city, count in CITIES[split].items():
        if counts[city] != count:
            raise InputError(f"{images / split / city}: {counts[city]} images; expected {count}")
    return set(with_image)


def _paths(folder: Traversable, suffix: str, others: bool) -> dict[str, Traversable]:
    """Files of a split by id; `others` says whether there may be files without `suffix`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder for each city in it")
    paths: dict[str, Traversable] = {}
    for city in folder.iterdir():
        if is_of_system(city.name):
            continue
        if city.name not in CITIES[folder.name] or not city.is_dir():
            raise InputError(f"{city}: not a folder of one of the cities for {folder.name}")
        for path in city.iterdir():
            id_ = path.name.removesuffix(suffix)
            if re.fullmatch(rf"{city.name}_\d{{6}}_\d{{6}}", id_) and id_ != path.name:
                paths[id_] = path
            elif not others and not is_of_system(path.name):
                raise InputError(f"{path}: not an image of Cityscapes; remove it")
    return paths
