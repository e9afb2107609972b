"""The files of a user's folder of images and masks, found by their names."""

import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from sassn_jax.data.lists import is_of_system, name_several

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")  # in any case
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
# Photos that are not read. Files of other endings are passed over: notes, annotations.
_OTHER_PHOTOS = (".heic", ".heif", ".avif", ".gif", ".jp2", ".dng", ".cr2", ".nef", ".arw")


def find_images(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Finds all images below a folder.

    Args:
      folder: is searched with the folders in it.
      problems: a line is added for photos that cannot be read, and for images of the same id.

    Returns:
      The files by id, sorted. An id is the path below the folder, without its ending, with `/`.
    """
    found = _by_id(folder, IMAGE_SUFFIXES, problems)
    if unread := {relative(folder, path) for path in files_below(folder) if is_other_photo(path)}:
        problems.append(
            f"{folder}: {min(unread)} is not read{name_several(unread)}; convert it to "
            f"{', '.join(IMAGE_SUFFIXES)}, or remove it"
        )
    return found


def find_masks(folder: Path, images: Collection[str], problems: list[str]) -> dict[str, Path]:
    """Finds the masks of images: the files of the same ids below another folder.

    Args:
      folder: is searched with the folders in it. It need not exist.
      images: their ids.
      problems: a line is added for masks without an image, and for images whose mask is of a kind
        that is not read.

    Returns:
      The files by id, sorted.
    """
    found = _by_id(folder, LABEL_SUFFIXES, problems)
    if lost := sorted(found.keys() - set(images)):
        remedy = "give mask and image the same name, or remove the mask"
        if ending := _common_ending(lost, images):
            suffix = found[lost[0]].suffix
            remedy = (
                f"the names end in {ending!r} after that of the image; to rename all at once, in "
                f'labels: for f in *{ending}{suffix}; do mv "$f" '
                f'"${{f%{ending}{suffix}}}{suffix}"; done'
            )
        problems.append(
            f"{found[lost[0]]}: no image in images/ has this name{name_several(lost)}; {remedy}"
        )
    others = {
        id_of(folder, path): path
        for path in files_below(folder)
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *_OTHER_PHOTOS)
    }
    if unread := sorted((others.keys() & set(images)) - found.keys()):
        path = others[unread[0]]
        reason = "expected a PNG, TIFF or BMP file"
        if path.suffix.lower() in (".jpg", ".jpeg"):
            reason = "JPEG changes class ids, so export it as PNG"
        problems.append(f"{path}: is no mask{name_several(unread)}; {reason}")
    return {id_: found[id_] for id_ in sorted(found) if id_ not in lost}


def id_of(folder: Path, path: Path) -> str:
    """Returns the id of a file below a folder.

    Letters with accents are single characters in it (NFC), however the file's name has them: a zip
    file from macOS has two characters for each of them (NFD).
    """
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def relative(folder: Path, path: Path) -> str:
    """Returns the path of a file below a folder, from that folder on, for messages."""
    return path.relative_to(folder).as_posix()


def is_other_photo(path: Path) -> bool:
    """Whether a file is a photo of a kind that is not read, by its ending."""
    return path.suffix.lower() in _OTHER_PHOTOS


def _common_ending(ids: Collection[str], images: Collection[str]) -> str:
    """Returns what follows the id of an image in all of these ids, such as `_mask`; or nothing."""
    known = frozenset(images)
    endings = {
        next((id_[i:] for i in range(len(id_) - 1, 0, -1) if id_[:i] in known), "") for id_ in ids
    }
    ending = endings.pop()
    return ending if not endings and ending.startswith(("_", "-", ".")) else ""


def _by_id(folder: Path, suffixes: Collection[str], problems: list[str]) -> dict[str, Path]:
    alike: dict[str, list[Path]] = {}
    for path in files_below(folder):
        if path.suffix.lower() in suffixes:
            alike.setdefault(id_of(folder, path), []).append(path)
    twice = sorted(id_ for id_, paths in alike.items() if len(paths) > 1)
    if twice:
        names = " and ".join(sorted(relative(folder, path) for path in alike[twice[0]]))
        problems.append(
            f"{folder}: {names} have the same id {twice[0]!r}"
            f"{name_several(twice)}; rename all but one"
        )
    if strange := sorted(ascii(id_) for id_ in alike if not _is_utf8(id_)):
        problems.append(
            f"{folder}: the name {strange[0]} is not in UTF-8{name_several(strange)}; rename it"
        )
    return {id_: min(alike[id_]) for id_ in sorted(alike)}


def _is_utf8(text: str) -> bool:
    return text.encode(errors="ignore").decode() == text


def files_below(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder but those of systems; follows links, but no loop of them."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name
            for name in folders
            if not is_of_system(name) and os.path.realpath(Path(parent, name)) not in seen
        )
        yield from (Path(parent, name) for name in sorted(names) if not is_of_system(name))


def missing_files(
    root: Path, split: str, ids: Collection[str], kind: str, found: Mapping[str, Path]
) -> list[str]:
    """Returns a line if some ids of a list have no file of a kind, which is images or labels."""
    missing = sorted(id_ for id_ in ids if id_ not in found)
    if not missing:
        return []
    file, hint = f"{missing[0]}.jpg: no such file, nor with another ending", ""
    if kind == "labels":
        file, hint = f"{missing[0]}.png: no such file", "; draw the mask, or change the list"
    return [
        f"{root / kind / file}, but {missing[0]!r} is in {split}.txt{name_several(missing)}{hint}"
    ]
