"""The images and masks of a user's folder, see `folder`."""

import dataclasses
import io
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sassn_jax.data.annotations import Annotation
from sassn_jax.data.class_list import ClassList
from sassn_jax.data.dataset import (
    IGNORE_LABEL,
    UNLABELED,
    Color,
    DatasetInfo,
    check_class_ids,
    make_palette,
)
from sassn_jax.data.folder_files import relative
from sassn_jax.data.images import encode_png, photo_notes, read_photo
from sassn_jax.data.layout import Layout, Progress
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import group_alike
from sassn_jax.data.masks import as_shown, decode_label, has_palette, read_label
from sassn_jax.data.proposals import proposal_notes
from sassn_jax.data.validation import choose_validation
from sassn_jax.errors import InputError, all_problems

_NAMED = 10  # lines about images that are left out


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
      has_foreground: whether 255 is the second class in all masks but those of `sassn predict`, so
        that no pixel of them is ignored.
      colors: of the classes by name, in pictures, if classes.txt has them.
      class_list: what the numbers and colours in the masks stand for; without lines, numbers are
        class ids.
      annotations: what the mask of an id is drawn from, if its file is no image.
      proposed: see `Layout`.
      listed: the name of the list that an id is in, for all ids in lists; `without` needs it.
      limits: on the files.
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
    limits: FileLimits = LIMITS

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
        photo = read_photo(image_path, self.limits.max_pixels)
        if split == UNLABELED:
            ignored = np.full(photo.pixels.shape[:2], IGNORE_LABEL, np.uint8)
            return photo.content, encode_png(ignored)
        if id_ in self.annotations:
            return photo.content, encode_png(self.annotations[id_].draw(self.class_names, photo))
        # A mask of `sassn predict` holds class ids, whatever people's masks hold.
        is_ours = id_ in self.proposed or self._is_ours(label_path)
        lines = ClassList() if is_ours else self.class_list
        label_file, stored = self._read_label(label_path, lines)
        label = as_shown(label_path, stored, photo)
        num_ids = len(lines.lines) or len(self.class_names)
        check_class_ids(label, label_path, num_ids, may_list_ignore=not self.class_list.ignores)
        if lines.ignores:
            label = lines.to_class_ids(label)
        if self.has_foreground and not is_ours:
            label = (label == IGNORE_LABEL).astype(np.uint8)
        return photo.content, label_file if label is stored else encode_png(label)

    def _read_label(self, path: Path, lines: ClassList) -> tuple[bytes, UInt8[np.ndarray, "H W"]]:
        return read_label(path, lines.line_colors, self.limits.max_pixels)

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
        until one has another value. In a mask with a palette 255 is ignored, as in VOC's. Masks of
        `sassn predict` are not looked at, since they hold class ids however the others are written.

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
            if self._is_ours(path):
                continue
            try:
                _, label = self._read_label(path, self.class_list)
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
