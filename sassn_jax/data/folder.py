"""Images and masks of one's own, in a plain folder.

classes.txt                    class names, one a line, in order of class id
train.txt, val.txt             ids of images with masks, one a line
test.txt                       the same, if there are images to test on
unlabeled.txt                  the same of training images without masks, if there are any
images/ID.jpg or ID.png        RGB
labels/ID.png                  class ids, see `masks.read_label`; 255 = ignore

With two classes and masks of 0 and 255 alone, 255 stands for the second class.
"""

import dataclasses
import functools
import glob
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sassn_jax.data import records
from sassn_jax.data.dataset import IGNORE_LABEL, UNLABELED, Dataset
from sassn_jax.data.images import (
    encode_png,
    name_several,
    orientation,
    read_image,
    read_list,
)
from sassn_jax.data.masks import check_label, read_label
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
    layout = read_layout(source)
    if not records.is_prepared(NAME, data_dir):
        layout = with_foreground(layout, progress)
    return records.prepare(NAME, layout, data_dir, progress, layout.notes)


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
      has_foreground: whether 255 stands for the second class in all masks, and for nothing ignored.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    has_foreground: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """How the masks are understood, where that is not plain."""
        if not self.has_foreground:
            return ()
        return (
            f"the masks hold 0 and {IGNORE_LABEL} alone: {IGNORE_LABEL} is read as class 1, "
            f"{self.class_names[1]!r}, and no pixel is ignored",
        )

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
        turned = orientation(image_file)
        check_label(label_path, label, image, len(self.class_names), turned)
        if self.has_foreground:
            label_file = encode_png((label == IGNORE_LABEL).astype(np.uint8))
        return image_file, label_file


def with_foreground(
    layout: FolderLayout, progress: Callable[[int, int], None] = lambda done, total: None
) -> FolderLayout:
    """Decides whether 255 stands for a class: where no mask holds anything but 0 and 255.

    Most programs that draw masks of two classes write 0 and 255. Read as an ignored pixel, 255
    would leave one class, which every prediction gets right. Masks are looked at until one has
    another id.

    Args:
      layout: of a folder.
      progress: called with the number of masks that have been looked at, and of all.

    Raises:
      InputError: where the masks are of that kind, and there are not two classes.
    """
    paths = [
        layout.paths(split, id_)[1]
        for split, ids in layout.splits.items()
        if split != UNLABELED
        for id_ in ids
    ]
    seen: set[int] = set()
    for done, path in enumerate(paths, start=1):
        try:
            _, label = read_label(path)
        except InputError:
            continue  # whoever writes it tells of it
        is_zero, is_white = label == 0, label == IGNORE_LABEL
        if not (is_zero | is_white).all():
            return layout
        seen |= {0} if is_zero.any() else set()
        seen |= {IGNORE_LABEL} if is_white.any() else set()
        progress(done, len(paths))
    if seen != {0, IGNORE_LABEL}:
        return layout
    if len(layout.class_names) != 2:
        raise InputError(
            f"{layout.root / 'labels'}: all masks hold 0 and {IGNORE_LABEL} alone, and classes.txt "
            f"has {len(layout.class_names)} names; expected two (such as background and what "
            f"{IGNORE_LABEL} shows), or masks of class ids"
        )
    return dataclasses.replace(layout, has_foreground=True)


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
    needed = (*SPLITS, "test") if tested else SPLITS
    clean = functools.partial(_plain_id, root / "images")
    splits = {
        split: read_list(root / f"{split}.txt", "image ids", clean)
        for split in (*SPLITS, *OPTIONAL_SPLITS)
        if split in needed or (root / f"{split}.txt").exists()
    }
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


def _plain_id(folder: Path, id_: str) -> str:
    """The one spelling of an image's id: with single slashes, also where Windows wrote the list."""
    if not any((folder / f"{id_}{suffix}").is_file() for suffix in IMAGE_SUFFIXES):
        id_ = id_.replace("\\", "/")
    return str(PurePosixPath(id_))


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
    if folder == "labels":
        hint = f"; draw it, or move the id to {UNLABELED}.txt"
    if named.is_file():
        hint = f"; expected ids without {named.suffix}"
    elif near := sorted(named.parent.glob(f"{glob.escape(named.name)}.*")):
        hint = f"; rename or convert {near[0].name}"
        if folder == "labels" and near[0].suffix.lower() in (".jpg", ".jpeg"):
            hint = f"; {near[0].name} is no mask: JPEG smears class ids, so export it as PNG"
    raise InputError(
        f"{first}: no such file{nor}, but {id_!r} is in {split}.txt{name_several(missing)}{hint}"
    )
