"""A user's own images and masks, in a plain folder.

classes.txt                    class names, one per line, in order of class id; see `class_list`
train.txt, val.txt             ids of images with masks, one per line
test.txt                       optional: the same, of test images
unlabeled.txt                  optional: ids of training images without masks
images/ID.jpg or ID.png        see `images.photo_pixels`
labels/ID.png                  class ids, see `masks.read_label`; 255 = ignore
labels/*.json                  or shapes by LabelMe or COCO, see `annotations`

With two classes and masks of 0 and 255 alone, 255 is the second class.
"""

import dataclasses
import functools
import glob
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from sassn_jax.data.annotations import Annotation, find_annotations
from sassn_jax.data.class_list import read_class_list
from sassn_jax.data.dataset import IGNORE_LABEL, UNLABELED, check_class_ids
from sassn_jax.data.images import encode_png, photo_notes, read_photo
from sassn_jax.data.layout import Layout, Progress
from sassn_jax.data.lists import name_several, read_list
from sassn_jax.data.masks import Color, as_shown, read_label
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded

IMAGE_SUFFIXES = (".jpg", ".png")


@dataclass(frozen=True)
class FolderLayout(Layout):
    """The images and masks in the folder `root`.

    If it `has_foreground`, 255 is the second class in all masks, and no pixel is ignored.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    has_foreground: bool = False
    colors: tuple[Color, ...] = ()
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    photo_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Says how images are changed, and if 255 is read as the second class."""
        if not self.has_foreground:
            return self.photo_notes
        return (
            *self.photo_notes,
            f"the masks hold 0 and {IGNORE_LABEL} alone: {IGNORE_LABEL} is read as class 1, "
            f"{self.class_names[1]!r}, and no pixel is ignored",
        )

    def paths(self, split: str, id_: str) -> tuple[Path, Path]:
        """Returns the files of an image and its mask; twice the image if it has no mask."""
        image_path = self.root / "images" / f"{id_}.jpg"
        if not image_path.exists() and image_path.with_suffix(".png").exists():
            image_path = image_path.with_suffix(".png")
        if split == UNLABELED:
            return image_path, image_path
        if id_ in self.annotations:
            return image_path, self.annotations[id_].path
        return image_path, self.root / "labels" / f"{id_}.png"

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """Reads an image and its mask; without a mask, all pixels are ignored."""
        image_path, label_path = self.paths(split, id_)
        photo = read_photo(image_path)
        if split == UNLABELED:
            return photo.content, encode_png(
                np.full(photo.pixels.shape[:2], IGNORE_LABEL, np.uint8)
            )
        if id_ in self.annotations:
            label = self.annotations[id_].draw(self.class_names, photo)
            return photo.content, encode_png(label)
        label_file, stored = read_label(label_path, self.colors)
        label = as_shown(label_path, stored, photo)
        check_class_ids(label, label_path, len(self.class_names))
        if self.has_foreground:
            label = (label == IGNORE_LABEL).astype(np.uint8)
        return photo.content, label_file if label is stored else encode_png(label)

    def examined(self, progress: Progress) -> "FolderLayout":
        """Sets `has_foreground` if the masks hold 0 and 255 and no other value.

        Most programs that draw masks of two classes write 0 and 255. If 255 meant ignored pixels
        there, one class would be left, and every prediction would be right. Masks are looked at
        until one has another value.

        Raises:
          InputError: if the masks hold 0 and 255 alone, but there are not two classes.
        """
        images = (self.paths(split, id_)[0] for split, ids in self.splits.items() for id_ in ids)
        layout = dataclasses.replace(self, photo_notes=photo_notes(images))
        paths = [
            layout.paths(split, id_)[1]
            for split, ids in layout.splits.items()
            if split != UNLABELED
            for id_ in ids
            if id_ not in layout.annotations
        ]
        seen: set[int] = set()
        for done, path in enumerate(paths, start=1):
            try:
                _, label = read_label(path, layout.colors)
            except InputError:
                continue  # `read` reports it
            seen |= set(np.flatnonzero(np.bincount(label.ravel())).tolist())
            if seen - {0, IGNORE_LABEL}:
                return layout
            progress(done, len(paths))
        if seen != {0, IGNORE_LABEL}:
            return layout
        if len(layout.class_names) != 2:
            raise InputError(
                f"{self.root / 'labels'}: all masks hold 0 and {IGNORE_LABEL} alone, but "
                f"classes.txt has {len(self.class_names)} names; expected two (such as background "
                f"and what {IGNORE_LABEL} shows), or masks of class ids"
            )
        return dataclasses.replace(layout, has_foreground=True)


def read_layout(root: StrPath, *, tested: bool = False) -> FolderLayout:
    """Reads the lists of a folder and checks that their files exist; `tested` requires `test.txt`.

    Raises:
      InputError: if the folder, a list or a file is missing, if a list is empty, or if an id occurs
        twice, in one list or in two.
    """
    root = expanded(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with images/, labels/, classes.txt")
    names, colors = read_class_list(root / "classes.txt")
    needed = ("train", "val", "test") if tested else ("train", "val")
    clean = functools.partial(_plain_id, root / "images")
    splits = {
        split: read_list(root / f"{split}.txt", "image ids", clean)
        for split in ("train", "val", "test", UNLABELED)
        if split in needed or (root / f"{split}.txt").exists()
    }
    for one, other in itertools.combinations(splits, 2):
        if twice := sorted(set(splits[one]) & set(splits[other])):
            raise InputError(
                f"{root / one}.txt: {twice[0]!r} is in {other}.txt too{name_several(twice)}; "
                "expected each image in one list only"
            )
    ids_with_masks = {id_ for split, ids in splits.items() if split != UNLABELED for id_ in ids}
    annotations = {
        id_: annotation
        for id_, annotation in find_annotations(root / "labels", ids_with_masks).items()
        if not (root / "labels" / f"{id_}.png").is_file()
    }
    for split, ids in splits.items():
        _check_files(root, split, ids, "images", IMAGE_SUFFIXES)
        if split != UNLABELED:
            drawn = tuple(id_ for id_ in ids if id_ not in annotations)
            _check_files(root, split, drawn, "labels", (".png",))
    return FolderLayout(root, names, splits, colors=colors, annotations=annotations)


def _plain_id(folder: Path, id_: str) -> str:
    """Returns an id with single slashes, also if the list was written on Windows."""
    if not any((folder / f"{id_}{suffix}").is_file() for suffix in IMAGE_SUFFIXES):
        id_ = id_.replace("\\", "/")
    return str(PurePosixPath(id_))


def _check_files(
    root: Path, split: str, ids: tuple[str, ...], folder: str, suffixes: tuple[str, ...]
) -> None:
    """Checks that each id of a list has a file with one of the suffixes in a folder."""
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
        hint = f"; draw the mask, or move the id to {UNLABELED}.txt"
    if named.is_file():
        hint = f"; expected ids without {named.suffix}"
    elif near := sorted(named.parent.glob(f"{glob.escape(named.name)}.*")):
        hint = f"; rename or convert {near[0].name}"
        if folder == "labels" and near[0].suffix.lower() in (".jpg", ".jpeg"):
            hint = f"; {near[0].name} is no mask: JPEG changes class ids, so export it as PNG"
    raise InputError(
        f"{first}: no such file{nor}, but {id_!r} is in {split}.txt{name_several(missing)}{hint}"
    )
