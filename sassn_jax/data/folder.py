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

import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from sassn_jax.data.annotations import Annotation, find_annotations
from sassn_jax.data.checked_parts import stamp
from sassn_jax.data.class_list import ClassList, read_class_list
from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.folder_files import files_below, find_images, find_masks, missing_files
from sassn_jax.data.folder_layout import FolderLayout
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import name_several, read_list
from sassn_jax.data.proposals import is_proposed
from sassn_jax.data.splits import id_of_line
from sassn_jax.errors import InputError, all_problems
from sassn_jax.files import StrPath, expanded

LISTS = ("train", "val", "test", UNLABELED)  # NAME.txt lists the ids of a split


def read_layout(
    root: StrPath, limits: FileLimits = LIMITS, *, published: bool = False
) -> FolderLayout:
    """Finds the images and masks of a folder and reads its lists.

    Args:
      root: the folder.
      limits: on the files.
      published: whether all files but unlabeled.txt must be there, and a mask for each image in the
        other lists, as in a dataset that is published in this form.

    Raises:
      InputError: if the folder or its images are missing, or if a link leads out of the folder; for
        an id that is in a list twice or in two lists, for names in a list that no image has, for
        masks that fit no image, and for images of the same id. It names all of these at once.
    """
    root = expanded(root)
    if not (root / "images").is_dir():
        what = "no such folder" if not root.is_dir() else "holds no folder images"
        raise InputError(
            f"{root}: {what}; expected one with images/ and labels/, and as you like classes.txt, "
            "train.txt, val.txt, test.txt, unlabeled.txt"
        )
    limits.check_links(root, _files(root))
    problems: list[str] = []
    images = find_images(root / "images", problems)
    strays: list[str] = []  # a published dataset may hold more than its lists
    masks = find_masks(root / "labels", images, strays)
    if not images:
        problems.append(f"{root / 'images'}: holds no image")
    proposed = frozenset(id_ for id_, path in masks.items() if is_proposed(path))
    annotations: dict[str, Annotation] = {}
    class_list, lists = _read_lists(root, images, published, problems)
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
            root,
            class_list.names,
            lists,
            images,
            masks,
            class_list=class_list,
            listed=listed,
            limits=limits,
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
        limits=limits,
    )


def _read_lists(
    root: Path, images: Mapping[str, Path], published: bool, problems: list[str]
) -> tuple[ClassList, dict[str, tuple[str, ...]]]:
    """Returns classes.txt and the lists of ids by split; adds what is wrong to `problems`."""
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
    return class_list, lists


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
    stamps = sorted((str(path.relative_to(root)), *stamp(path)[1:]) for path in _files(root))
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()


def _files(root: Path) -> list[Path]:
    """Returns all files that a layout depends on."""
    files = [path for name in ("classes", *LISTS) if (path := root / f"{name}.txt").is_file()]
    for folder in ("images", "labels"):
        files += files_below(root / folder)
    return files
