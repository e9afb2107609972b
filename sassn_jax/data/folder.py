"""Images and masks of one's own, in a plain folder.

classes.txt                    class names, one a line, in order of class id
train.txt, val.txt             ids of images with masks, one a line
test.txt                       the same, if there are images to test on
unlabeled.txt                  the same of training images without masks, if there are any
images/ID.jpg or ID.png        RGB
labels/ID.png                  one channel of class ids; 255 = ignore
"""

import glob
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sassn_jax.data import records
from sassn_jax.data.dataset import IGNORE_LABEL, UNLABELED, Dataset
from sassn_jax.data.images import (
    check_label,
    encode_png,
    name_several,
    read_image,
    read_label,
    read_list,
)
from sassn_jax.errors import InputError
from sassn_jax.files import expanded

NAME = "folder"
SPLITS = ("train", "val")
OPTIONAL_SPLITS = ("test", UNLABELED)
IMAGE_SUFFIXES = (".jpg", ".png")


def prepare(
    source: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Writes such a folder's images and masks under `data_dir`, as `records.prepare` does."""
    return records.prepare(NAME, read_layout(source), data_dir, progress)


def load(data_dir: str | os.PathLike[str] | None) -> Dataset:
    """The dataset that `prepare` wrote; InputError where there is none."""
    return records.load(NAME, data_dir, {})


@dataclass(frozen=True)
class FolderLayout:
    """What a folder's lists say.

    Attributes:
      root: the folder.
      class_names: in order of class id.
      splits: ids of the images of each split, in the order of its list.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]

    def paths(self, split: str, id_: str) -> tuple[Path, Path]:
        """The files of an image and its mask; the image's alone where it has none."""
        image_path = self.root / "images" / f"{id_}.jpg"
        if not image_path.exists() and image_path.with_suffix(".png").exists():
            image_path = image_path.with_suffix(".png")
        if split == UNLABELED:
            return image_path, image_path
        return image_path, self.root / "labels" / f"{id_}.png"

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """The files of an image and its mask, which is all ignored where there is none.

        Raises:
          InputError: names the one that is missing, unreadable, of another size than the other, or
            holds a class id that is not in the class list.
        """
        image_path, label_path = self.paths(split, id_)
        image_file, image = read_image(image_path)
        if split == UNLABELED:
            return image_file, encode_png(np.full(image.shape[:2], IGNORE_LABEL, np.uint8))
        label_file, label = read_label(label_path)
        check_label(label_path, label, image, len(self.class_names))
        return image_file, label_file


def read_layout(root: str | os.PathLike[str], *, tested: bool = False) -> FolderLayout:
    """Reads the lists of a folder, and looks whether their files are there.

    Args:
      root: the folder.
      tested: whether there must be a list `test.txt`.

    Raises:
      InputError: where the folder, a list or a file of one is missing, a list is empty, or an id is
        named twice, be it in two lists.
    """
    root = expanded(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with images/, labels/, classes.txt")
    names = read_list(root / "classes.txt", "class names")
    if len(names) > IGNORE_LABEL:
        raise InputError(f"{root / 'classes.txt'}: {len(names)} classes; at most {IGNORE_LABEL}")
    splits = {split: read_list(root / f"{split}.txt", "image ids") for split in SPLITS}
    for split in OPTIONAL_SPLITS:
        if (root / f"{split}.txt").exists() or (tested and split == "test"):
            splits[split] = read_list(root / f"{split}.txt", "image ids")
    for one, other in itertools.combinations(splits, 2):
        if twice := sorted(set(splits[one]) & set(splits[other])):
            raise InputError(
                f"{root / one}.txt: {twice[0]!r} is in {other}.txt too{name_several(twice)}; "
                "expected each image in one list"
            )
    for split, ids in splits.items():
        _check_files(root, split, ids, "images", IMAGE_SUFFIXES)
        if split != UNLABELED:
            _check_files(root, split, ids, "labels", (".png",))
    return FolderLayout(root, names, splits)


def _check_files(
    root: Path, split: str, ids: tuple[str, ...], folder: str, suffixes: tuple[str, ...]
) -> None:
    """Checks that each id of a list has a file of one of these suffixes in a folder."""
    missing = [
        id_ for id_ in ids if not any((root / folder / f"{id_}{end}").is_file() for end in suffixes)
    ]
    if not missing:
        return
    id_ = min(missing)
    named = root / folder / id_
    first, *others = (f"{named}{end}" for end in suffixes)
    nor = "".join(f", nor {Path(other).name}" for other in others)
    hint = ""
    if named.is_file():
        hint = f"; expected ids without {named.suffix}"
    elif near := sorted(named.parent.glob(f"{glob.escape(named.name)}.*")):
        hint = f"; rename or convert {near[0].name}"
    raise InputError(
        f"{first}: no such file{nor}, but {id_!r} is in {split}.txt{name_several(missing)}{hint}"
    )
