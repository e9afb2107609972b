"""A plain folder of images and masks, as CamVid comes.

classes.txt                    class names, one a line, in order of class id
train.txt, val.txt, test.txt   image ids, one a line
unlabeled.txt                  perhaps more ids, of training images without a mask
images/ID.jpg                  RGB
labels/ID.png                  one channel of class ids; 255 = ignore
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sassn_jax.data.dataset import IGNORE_LABEL, UNLABELED
from sassn_jax.data.images import (
    check_label,
    encode_png,
    name_several,
    read_image,
    read_label,
    read_list,
)
from sassn_jax.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CamvidLayout:
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


def read_layout(root: str | os.PathLike[str]) -> CamvidLayout:
    """Reads the lists of a folder; looks at no image.

    Raises:
      InputError: where the folder or a list is missing or empty, or an id is named twice, be it in
        two lists.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with images/, labels/, classes.txt")
    names = read_list(root / "classes.txt", "class names")
    if len(names) > IGNORE_LABEL:
        raise InputError(f"{root / 'classes.txt'}: {len(names)} classes; at most {IGNORE_LABEL}")
    splits = {split: read_list(root / f"{split}.txt", "image ids") for split in SPLITS}
    if (root / f"{UNLABELED}.txt").exists():
        splits[UNLABELED] = read_list(root / f"{UNLABELED}.txt", "image ids")
    for one, other in itertools.combinations(splits, 2):
        if twice := sorted(set(splits[one]) & set(splits[other])):
            raise InputError(
                f"{root / one}.txt: {twice[0]!r} is in {other}.txt too{name_several(twice)}; "
                "expected each image in one list"
            )
    return CamvidLayout(root, names, splits)
