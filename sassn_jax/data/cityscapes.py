"""Cityscapes (Cordts et al. 2016): 2,975 training images of street scenes, 500 for validation.

The source is a folder with the folders `leftImg8bit` and `gtFine`, or with the published zip files
`leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip`, which need not be unpacked:

leftImg8bit/{train,val}/CITY/ID_leftImg8bit.png
gtFine/{train,val}/CITY/ID_gtFine_labelIds.png    ids of 34 labels, 19 of which are classes

An id is `CITY_SEQUENCE_FRAME`. The masks of the test split are not public.
"""

import collections
import itertools
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.dataset import IGNORE_LABEL
from sassn_jax.data.images import encode_png, read_image, size
from sassn_jax.data.layout import Layout
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import is_of_system, name_several
from sassn_jax.data.masks import check_label, read_label
from sassn_jax.errors import InputError, one_line
from sassn_jax.files import StrPath, expanded

# The datasets by name, and the factor by which height and width of the images are reduced.
VARIANTS = {"cityscapes": 1, "cityscapes_512x1024": 2}
IMAGE_SIZE = (1024, 2048)  # height and width as published
# The number of images of each city.
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
# Colour of each class, and the id of its label in the files.
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


@dataclass(frozen=True)
class CityscapesLayout(Layout):
    """The images and masks in the folders `leftImg8bit` and `gtFine`, which may be in zip files.

    Height and width are reduced by `factor`.
    """

    images: Traversable
    labels: Traversable
    factor: int
    splits: Mapping[str, tuple[str, ...]]
    class_names: tuple[str, ...] = tuple(_CLASSES)

    def paths(self, split: str, id_: str) -> tuple[Traversable, Traversable]:
        """Returns the files of an image and its mask."""
        city = id_.partition("_")[0]
        return (
            self.images / split / city / f"{id_}_leftImg8bit.png",
            self.labels / split / city / f"{id_}_gtFine_labelIds.png",
        )

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """Reads an image, which must have the published size, and its mask.

        If they are reduced, a pixel of the image is the mean over `factor` x `factor` pixels, and a
        pixel of the mask is one of these pixels.
        """
        image_path, label_path = self.paths(split, id_)
        image_file, image = read_image(image_path, math.prod(IMAGE_SIZE))
        if image.shape[:2] != IMAGE_SIZE:
            height, width = IMAGE_SIZE
            raise InputError(f"{image_path}: {size(image)} pixels; expected {width}x{height}")
        _, label = read_label(label_path, max_pixels=math.prod(IMAGE_SIZE))
        check_label(label_path, label, image, _NUM_LABELS)
        classes = _CLASS_OF_LABEL[label]
        if self.factor > 1:
            image_file = encode_png(np.asarray(Image.fromarray(image).reduce(self.factor)))
            classes = classes[self.factor // 2 :: self.factor, self.factor // 2 :: self.factor]
        return image_file, encode_png(np.ascontiguousarray(classes))


def read_layout(source: StrPath, limits: FileLimits = LIMITS, *, factor: int) -> CityscapesLayout:
    """Finds the images and masks, without reading any.

    Raises:
      InputError: if a folder is missing or a zip file damaged, if an image has no mask or a mask no
        image, if a file does not belong to Cityscapes, if a city has not the published number of
        images, or if a link leads out of the source.
    """
    source = expanded(source)
    images, labels = (_open(source, name) for name in ("leftImg8bit", "gtFine"))
    splits = {split: tuple(sorted(_find_ids(images, labels, split))) for split in CITIES}
    layout = CityscapesLayout(images, labels, factor, splits)
    pairs = (layout.paths(split, id_) for split, ids in splits.items() for id_ in ids)
    files = (path for path in itertools.chain(*pairs) if isinstance(path, Path))  # in no zip file
    limits.check_links(source, files)
    return layout


def _open(source: Path, name: str) -> Traversable:
    if (source / name).is_dir():
        return source / name
    archive = source / f"{name}_trainvaltest.zip"
    if not archive.is_file():
        raise InputError(f"{source / name}: no such folder, and no {archive.name} beside it")
    try:
        return zipfile.Path(archive, f"{name}/")
    except (zipfile.BadZipFile, NotImplementedError, UnicodeError) as error:
        raise InputError(f"{archive}: cannot be read as a zip file ({one_line(error)})") from None


def _find_ids(images: Traversable, labels: Traversable, split: str) -> set[str]:
    """Returns the ids of a split, after a check that each has an image and a mask."""
    with_image = _paths(images / split, "_leftImg8bit.png", others=False)
    with_label = _paths(labels / split, "_gtFine_labelIds.png", others=True)
    for one, other, what in ((with_image, with_label, "mask"), (with_label, with_image, "image")):
        if missing := one.keys() - other.keys():
            raise InputError(f"{one[min(missing)]}: has no {what}{name_several(missing)}")
    counts = collections.Counter(id_.partition("_")[0] for id_ in with_image)
    for city, count in CITIES[split].items():
        if counts[city] != count:
            raise InputError(f"{images / split / city}: {counts[city]} images; expected {count}")
    return set(with_image)


def _paths(folder: Traversable, suffix: str, others: bool) -> dict[str, Traversable]:
    """Returns the files of a split by id. `others` allows files without `suffix`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder for each city in it")
    paths: dict[str, Traversable] = {}
    for city in folder.iterdir():
        if is_of_system(city.name):
            continue
        if city.name not in CITIES[folder.name] or not city.is_dir():
            raise InputError(f"{city}: not the folder of a city in {folder.name}; remove it")
        for path in city.iterdir():
            id_ = path.name.removesuffix(suffix)
            if re.fullmatch(rf"{city.name}_\d{{6}}_\d{{6}}", id_) and id_ != path.name:
                paths[id_] = path
            elif not others and not is_of_system(path.name):
                raise InputError(f"{path}: not an image of Cityscapes; remove it")
    return paths
