"""A user's own images and masks, in a plain folder.

images/                        photos of any names, in folders too; endings: `IMAGE_SUFFIXES`
labels/                        masks: class ids, see `masks.read_label`; 255 = ignore. Or shapes by
                               LabelMe or COCO, see `annotations`
classes.txt                    optional: class names, one per line, in order of class id; with
                               colours if masks are in colours; `ignore` for pixels that are of no
                               class, see `class_list`
train.txt, val.txt, test.txt   optional: ids or paths of images, one per line
unlabeled.txt                  optional: the same, of images whose masks are not used

An image's id is its path below images/ without the ending. Its mask has the same id below labels/.
An image without a mask is unlabelled, but in val.txt and test.txt each needs one. Without
train.txt, all images that no other list has are training images. Without val.txt,
`choose_validation` takes some of the training images that have masks, but none whose mask a network
proposed, see `proposals`: those are only trained on.

With two classes, no `ignore` and masks of 0 and 255 alone, 255 is the second class.
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from sassn_jax.data.annotations import Annotation, find_annotations
from sassn_jax.data.checked_parts import stamp
from sassn_jax.data.class_list import ClassList, read_class_list
from sassn_jax.data.dataset import (
    IGNORE_LABEL,
    UNLABELED,
    Color,
    DatasetInfo,
    check_class_ids,
    make_palette,
)
from sassn_jax.data.folder_files import (
    files_below,
    find_images,
    find_masks,
    missing_files,
    relative,
)
from sassn_jax.data.images import encode_png, photo_notes, read_photo
from sassn_jax.data.layout import Layout, Progress
from sassn_jax.data.lists import group_alike, name_several, read_list
from sassn_jax.data.masks import as_shown, decode_label, has_palette, read_label
from sassn_jax.data.proposals import is_proposed, proposal_notes
from sassn_jax.data.splits import id_of_line
from sassn_jax.data.validation import choose_validation
from sassn_jax.errors import InputError, all_problems
from sassn_jax.files import StrPath, expanded, replacing

_SOURCE = "source.txt"  # names the folder from which what stands beside it was prepared
_NAMED = 10  # lines about images that are left out
LISTS = ("train", "val", "test", UNLABELED)  # NAME.txt lists the ids of a split


@dataclass(frozen=True)
class FolderLayout(Layout):
    """The images and masks in a folder.

    Attributes:
      root: the folder.
      class_names: in order of class id. Empty without classes.txt, until `examined`.
      splits: ids of the images of each split. Without val.txt there is no `val` until `examined`.
      images: the image files by id.
      masks: the mask files by id.
      stamps: see `Layout`.
      said: notes on what was found.
      has_foreground: whether 255 is the second class in all masks that are not proposed, so that no
        pixel of them is ignored.
      colors: of the classes by name, in pictures, if classes.txt has them.
      class_list: what the numbers and colours in the masks stand for; without lines, numbers are
        class ids.
      annotations: what the mask of an id is drawn from, if its file is no image.
      proposed: see `Layout`.
      listed: the name of the list that an id is in, for all ids in lists; `without` needs it.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    stamps: str = ""
    said: tuple[str, ...] = ()
    has_foreground: bool = False
    colors: Mapping[str, Color] = field(default_factory=dict)
    class_list: ClassList = field(default_factory=ClassList)
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    proposed: frozenset[str] = frozenset()
    listed: Mapping[str, str] = field(default_factory=dict)

    def without(self, unreadable: Mapping[str, str]) -> "FolderLayout":
        """Leaves images out, with their masks, and says so; see `Layout.without`.

        Raises:
          InputError: if one is in a list, or if no training image with a mask is left.
        """
        named = {
            id_: f"{line}; {id_!r} is in {self.listed[id_]}.txt: mend the file, or change the list"
            for id_, line in unreadable.items()
            if id_ in self.listed
        }
        if named:
            raise all_problems(group_alike({**unreadable, **named}))
        splits = {
            split: tuple(id_ for id_ in ids if id_ not in unreadable)
            for split, ids in self.splits.items()
        }
        lines = group_alike(unreadable)
        if not splits["train"]:
            raise all_problems(lines)
        said = [f"left out, {line}" for line in lines[:_NAMED]]
        if more := len(lines) - len(said):
            said.append(f"left out, {more} more images that cannot be read")
        return dataclasses.replace(
            self,
            splits={split: ids for split, ids in splits.items() if ids},
            said=(*self.said, *said),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Says how splits and classes were made up, which masks are proposed, and what 255 is."""
        said = (*self.said, *proposal_notes(self.splits, self.proposed))
        if not self.has_foreground:
            return said
        return (
            *said,
            f"the {self._drawn} hold 0 and {IGNORE_LABEL} alone: {IGNORE_LABEL} is read as class "
            f"1, {self.class_names[1]!r}, and no pixel is ignored",
        )

    @property
    def _drawn(self) -> str:
        """What masks are called in a message that is not about proposed ones."""
        return "drawn masks" if self.proposed else "masks"

    def paths(self, split: str, id_: str) -> tuple[Path, Path]:
        """Returns the files of an image and its mask; twice the image if it has no mask."""
        return self.images[id_], (self.images if split == UNLABELED else self.masks)[id_]

    def read(self, split: str, id_: str) -> tuple[bytes, bytes]:
        """Reads an image and its mask; without a mask, all pixels are ignored."""
        image_path, label_path = self.paths(split, id_)
        photo = read_photo(image_path)
        if split == UNLABELED:
            ignored = np.full(photo.pixels.shape[:2], IGNORE_LABEL, np.uint8)
            return photo.content, encode_png(ignored)
        if id_ in self.annotations:
            return photo.content, encode_png(self.annotations[id_].draw(self.class_names, photo))
        is_drawn = id_ not in self.proposed
        # A proposed mask holds class ids, whatever people's masks hold.
        lines = self.class_list if is_drawn and not self._is_ours(label_path) else ClassList()
        label_file, stored = read_label(label_path, lines.line_colors)
        label = as_shown(label_path, stored, photo)
        num_ids = len(lines.lines) or len(self.class_names)
        check_class_ids(label, label_path, num_ids, may_list_ignore=not self.class_list.ignores)
        if lines.ignores:
            label = lines.to_class_ids(label)
        if self.has_foreground and is_drawn:
            label = (label == IGNORE_LABEL).astype(np.uint8)
        return photo.content, label_file if label is stored else encode_png(label)

    def _is_ours(self, path: Path) -> bool:
        """Whether a mask has the palette of `sassn predict`, so that it holds class ids.

        A proposed mask keeps it where a person has corrected it and the mark is lost.
        """
        if not self.class_list.lines:
            return False
        palette = make_palette(self.class_names, self.colors)
        info = DatasetInfo("folder", self.class_names, palette)
        return has_palette(path, info.mask_palette)

    def examined(self, progress: Progress) -> "FolderLayout":
        """Looks at the masks, and gives class names and validation images where no file does.

        Raises:
          InputError: if the masks hold 0 and 255 alone, but there are not two names of classes; if
            they hold no class; or if there are too few of them to leave some for validation.
        """
        ids = itertools.chain(*self.splits.values())
        photos = {relative(self.root, self.images[id_]): self.images[id_] for id_ in ids}
        said = (*self.said, *photo_notes(photos))
        layout = dataclasses.replace(self, said=said)._with_foreground(progress)
        if self.class_names and "val" in self.splits:
            return layout
        named = layout
        if not layout.class_names:  # any id may be a class
            named = dataclasses.replace(layout, class_names=("",) * IGNORE_LABEL)
        split_of = {
            id_: split for split, ids in self.splits.items() if split != UNLABELED for id_ in ids
        }
        occurring: dict[str, frozenset[int]] = {}
        wrong: dict[str, str] = {}
        for done, (id_, split) in enumerate(split_of.items(), start=1):
            try:
                occurring[id_] = named._occurring(split, id_)
            except InputError as error:  # `prepare` reports it
                occurring[id_], wrong[id_] = frozenset(), str(error)
            progress(done, len(split_of))
        if wrong and not layout.class_names and not any(occurring.values()):
            raise all_problems(group_alike(wrong))
        return layout._with_names(occurring)._with_validation(occurring)

    def _with_names(self, occurring: Mapping[str, Collection[int]]) -> "FolderLayout":
        """Names the classes by their ids if there is no classes.txt."""
        if self.class_names:
            return self
        last = max(itertools.chain(*occurring.values()), default=None)
        if last is None:
            raise InputError(
                f"{self.root / 'classes.txt'}: no such file, and no mask in labels/ shows a class; "
                "expected class names, one per line"
            )
        names = tuple(f"class_{i}" for i in range(last + 1))
        said = f"no classes.txt: the ids in the masks, 0 to {last}, are named class_0 and so on"
        return dataclasses.replace(self, class_names=names, said=(*self.said, said))

    def _with_validation(self, occurring: Mapping[str, Collection[int]]) -> "FolderLayout":
        """Takes validation images from the training images with masks if there is no val.txt.

        They are those that it would take if there were no proposed masks, so that scores before and
        after proposing masks can be compared.
        """
        if "val" in self.splits:
            return self
        train = self.splits["train"]
        drawn = [id_ for id_ in train if id_ not in self.proposed]
        if len(drawn) < 2:
            found = "a single training image has a mask"
            if self.proposed:
                found = f"a network proposed {len(train) - len(drawn)} of {len(train)} masks"
            raise InputError(
                f"{self.root / 'labels'}: {found}; expected at least two {self._drawn}, one to "
                "train on and one to validate on"
            )
        val = choose_validation({id_: occurring[id_] for id_ in drawn})
        said = (
            f"no val.txt: images with {self._drawn} that are taken for validation: {len(val)} of "
            f"{len(drawn)}, chosen to show as many classes as they can"
        )
        splits = {"train": tuple(id_ for id_ in train if id_ not in val), "val": val}
        splits |= {split: ids for split, ids in self.splits.items() if split != "train"}
        return dataclasses.replace(self, splits=splits, said=(*self.said, said))

    def _occurring(self, split: str, id_: str) -> frozenset[int]:
        """Returns the class ids in a mask; raises as `read`."""
        _, content = self.read(split, id_)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            counts = np.bincount(decode_label(image).ravel())
        return frozenset(np.flatnonzero(counts).tolist()) - {IGNORE_LABEL}

    def _with_foreground(self, progress: Progress) -> "FolderLayout":
        """Sets `has_foreground` if the masks hold 0 and 255 and no other value.

        Most programs that draw masks of two classes write 0 and 255. If 255 meant ignored pixels
        there, one class would be left, and every prediction would be right. Masks are looked at
        until one has another value. In a mask with a palette 255 is ignored, as in VOC's. Proposed
        masks are not looked at, since they hold class ids however the others are written.

        Raises:
          InputError: if the masks hold 0 and 255 alone, but there are not two classes.
        """
        paths = [
            self.paths(split, id_)[1]
            for split, ids in self.splits.items()
            if split != UNLABELED
            for id_ in ids
            if id_ not in self.annotations and id_ not in self.proposed
        ]
        seen: set[int] = set()
        for done, path in enumerate(paths, start=1):
            try:
                _, label = read_label(path, self.class_list.line_colors)
            except InputError:
                continue  # `read` reports it
            seen |= set(np.flatnonzero(np.bincount(label.ravel())).tolist())
            if seen - {0, IGNORE_LABEL} or (IGNORE_LABEL in seen and has_palette(path)):
                return self
            progress(done, len(paths))
        if seen != {0, IGNORE_LABEL}:
            return self
        number = len(self.class_list.lines)
        if number != 2 or self.class_list.ignores:
            listed = f"classes.txt has {number} names" if number else "there is no classes.txt"
            raise InputError(
                f"{self.root / 'labels'}: all {self._drawn} hold 0 and {IGNORE_LABEL} alone, but "
                f"{listed}; expected one with two names (such as background and what "
                f"{IGNORE_LABEL} shows), or masks of class ids"
            )
        return dataclasses.replace(self, has_foreground=True)


def place(source: StrPath, data_dir: StrPath | None) -> Path:
    """Returns where a folder of images and masks is prepared.

    Args:
      source: the folder; empty for the one that is prepared in `data_dir`.
      data_dir: folder of prepared datasets. Each source has a folder of its own name in it. Empty:
        the folder `.sassn` of the source.

    Raises:
      InputError: if both are empty, or `source` is and several folders are prepared in `data_dir`.
    """
    if source:
        path = expanded(source).resolve()
        return expanded(data_dir) / path.name if data_dir else path / ".sassn"
    if not data_dir:
        raise InputError(
            "source='': expected a folder of images and masks, or in data_dir the folder in which "
            "sassn prepare --dataset=folder --source=FOLDER --data_dir=FOLDER has prepared one"
        )
    data_dir = expanded(data_dir)
    prepared = sorted({path.parent.parent for path in data_dir.glob("*/folder/[0-9]*")})
    if any(data_dir.glob("folder/[0-9]*")) or not prepared:
        return data_dir
    if len(prepared) > 1:
        names = ", ".join(str(path) for path in prepared)
        raise InputError(f"data_dir={str(data_dir)!r}: holds several folders; expected {names}")
    return prepared[0]


def check_same_source(source: StrPath, prepared: Path) -> None:
    """Checks that a place, see `place`, is not that of another folder with the same name.

    Raises:
      InputError: if another folder, which is still there, was prepared in this place.
    """
    path = prepared / _SOURCE
    if not path.is_file():
        return
    other = Path(path.read_text(encoding="utf-8").strip())
    if other.is_dir() and other != expanded(source).resolve():
        raise InputError(
            f"data_dir={str(prepared.parent)!r}: {prepared.name} was prepared there from {other}; "
            "choose another data_dir, or give one of the two folders another name"
        )


def write_source(source: StrPath, prepared: Path) -> None:
    """Writes which folder was prepared in a place, unless the place is in that folder itself."""
    root = expanded(source).resolve()
    if prepared.resolve().parent != root:
        with replacing(prepared / _SOURCE) as beside:
            beside.write_text(f"{root}\n", encoding="utf-8")


def read_layout(root: StrPath, *, published: bool = False) -> FolderLayout:
    """Finds the images and masks of a folder and reads its lists.

    Args:
      root: the folder.
      published: whether all files but unlabeled.txt must be there, and a mask for each image in the
        other lists, as in a dataset that is published in this form.

    Raises:
      InputError: if the folder or its images are missing, for an id that is in a list twice or in
        two lists, for names in a list that no image has, for masks that fit no image, and for
        images of the same id. It names all of these at once.
    """
    root = expanded(root)
    if not (root / "images").is_dir():
        what = "no such folder" if not root.is_dir() else "holds no folder images"
        raise InputError(
            f"{root}: {what}; expected one with images/ and labels/, and as you like classes.txt, "
            "train.txt, val.txt, test.txt, unlabeled.txt"
        )
    problems: list[str] = []
    images = find_images(root / "images", problems)
    strays: list[str] = []  # a published dataset may hold more than its lists
    masks = find_masks(root / "labels", images, strays)
    if not images:
        problems.append(f"{root / 'images'}: holds no image")
    proposed = frozenset(id_ for id_, path in masks.items() if is_proposed(path))
    annotations: dict[str, Annotation] = {}
    class_list = ClassList()
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("classes", *LISTS):
        path = root / f"{name}.txt"
        if path.exists() or (published and name != UNLABELED):
            try:
                if name == "classes":
                    class_list = read_class_list(path)
                else:
                    lists[name] = read_list(path, "image ids", functools.partial(_clean, images))
            except InputError as error:
                problems.append(str(error))
    if not published:
        try:
            drawn = find_annotations(root / "labels", images)
            annotations = {id_: one for id_, one in drawn.items() if id_ not in masks}
            masks |= {id_: one.path for id_, one in annotations.items()}
        except InputError as error:
            problems.append(str(error))
    for split, ids in lists.items():
        problems += missing_files(root, split, ids, "images", images)
        if split in ("val", "test") or (published and split == "train"):
            known = [id_ for id_ in ids if id_ in images]
            problems += missing_files(root, split, known, "labels", masks)
    for one, other in itertools.combinations(lists, 2):
        if twice := sorted(set(lists[one]) & set(lists[other])):
            problems.append(
                f"{root / one}.txt: {twice[0]!r} is in {other}.txt too{name_several(twice)}; "
                "expected each image in one list only"
            )
    problems += [] if published else strays
    if problems:
        raise all_problems(problems)
    listed = {id_: split for split, ids in lists.items() for id_ in ids}
    if published:
        return FolderLayout(
            root, class_list.names, lists, images, masks, class_list=class_list, listed=listed
        )
    splits, said = _splits(lists, images, masks)
    if not splits["train"]:
        raise InputError(
            f"{root / 'labels'}: no training image has a mask there; expected masks of some "
            "images, under the names of the images"
        )
    return FolderLayout(
        root,
        class_list.names,
        splits,
        images,
        masks,
        _stamps(root),
        (*class_list.notes, *said),
        colors=class_list.colors,
        class_list=class_list,
        annotations=annotations,
        proposed=proposed,
        listed=listed,
    )


def _splits(
    lists: Mapping[str, tuple[str, ...]], images: Mapping[str, Path], masks: Mapping[str, Path]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Returns the ids of each split, and a note if images are not used."""
    listed = set(itertools.chain(*lists.values()))
    others = tuple(id_ for id_ in images if id_ not in listed)
    train = lists.get("train", others)
    plain = [id_ for id_ in train if id_ not in masks]
    plain += lists.get(UNLABELED, ())
    said: tuple[str, ...] = ()
    if "train" in lists:
        plain += [id_ for id_ in others if id_ not in masks]
        if unused := [id_ for id_ in others if id_ in masks]:
            said = (
                f"images/{unused[0]} has a mask but is in no list, so it is not used"
                f"{name_several(unused)}",
            )
    splits = {"train": tuple(id_ for id_ in train if id_ in masks)}
    splits |= {split: lists[split] for split in ("val", "test") if split in lists}
    return splits | ({UNLABELED: tuple(plain)} if plain else {}), said


def _clean(images: Mapping[str, Path], line: str) -> str:
    """Returns the id of the image that a line names; the line if there is no such image."""
    return id_of_line(line, images) or line


def _stamps(root: Path) -> str:
    """Returns a hash of the names, sizes and times of all files that a layout depends on."""
    files = [path for name in ("classes", *LISTS) if (path := root / f"{name}.txt").is_file()]
    for folder in ("images", "labels"):
        files += files_below(root / folder)
    stamps = sorted((str(path.relative_to(root)), *stamp(path)[1:]) for path in files)
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
