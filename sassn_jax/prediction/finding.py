"""Which photos and videos are predicted, and which of them have a mask already."""

import glob
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from sassn_jax.data.annotations import find_annotated
from sassn_jax.data.folder_files import (
    IMAGE_SUFFIXES,
    files_below,
    find_masks,
    id_of,
    is_other_photo,
    relative,
)
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import name_several
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, expanded
from sassn_jax.prediction.video import VIDEOS


def find_files(
    source: StrPath,
    output: StrPath,
    on_note: Callable[[str], None] = lambda note: None,
    limits: FileLimits = LIMITS,
) -> list[tuple[Path, Path]]:
    """Returns the photos and videos of `source`, sorted, each with its relative path.

    Args:
      source: a file; a folder, with all folders in it; or a pattern, such as `photos/**/*.jpg`.
      output: the folder for the results; files that are in it already are left out.
      on_note: called with a line if `source` has photos of a kind that is not read.
      limits: on the files.

    Raises:
      InputError: if there is no such file, if `output` is the folder of the photos, or if a link
        leads out of that folder.
    """
    start, output = expanded(source), expanded(output).resolve()
    if start.is_file():
        found, start = [start], start.parent
    elif start.is_dir():
        found = sorted(filter(Path.is_file, files_below(start)))  # as a folder data set finds them
    else:
        found = [Path(path) for path in sorted(glob.glob(str(start), recursive=True))]
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), start.parts[:-1])
        start = Path(*plain)
    if start.resolve() == output:
        raise InputError(
            f"output={str(output)!r}: the folder of the photos; expected another one, such as "
            f"{str(output.parent / 'predicted')!r}"
        )
    is_below = start.resolve() in output.parents
    if unread := [relative(start, path) for path in found if is_other_photo(path)]:
        on_note(
            f"{start}: {min(unread)} is not read{name_several(unread)}; convert it to "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    known = (*IMAGE_SUFFIXES, *VIDEOS)
    files = [
        (path, path.relative_to(start))
        for path in found
        if path.suffix.lower() in known
        and not path.name.startswith(".")
        and not (is_below and output in location(path).parents)
    ]
    if not expanded(source).is_file():  # which somebody named
        limits.check_links(start, (path for path, _ in files))
    if not files:
        raise InputError(
            f"input={str(source)!r}: no photo or video there; expected a file, a folder or a "
            f"pattern of files that end in {', '.join(known)}"
        )
    return files


def in_data_set(path: Path) -> tuple[Path, tuple[Path, str]] | None:
    """Returns a photo, with the folder of masks of its data set and its id there.

    A data set is a folder with images/ and labels/. None for a photo in no such folder.
    """
    absolute = path.absolute()
    for folder in absolute.parents:
        labels = folder.parent / "labels"
        if folder.name == "images" and labels.is_dir():
            return path, (labels, id_of(folder, absolute))
    return None


def with_masks(places: Mapping[Path, tuple[Path, str]]) -> frozenset[Path]:
    """Returns the photos that have a mask or annotations.

    Args:
      places: by photo, the folder where its mask would be, and its id there.
    """
    found = set[Path]()
    for folder in {folder for folder, _ in places.values()}:
        ids = {path: id_ for path, (its_folder, id_) in places.items() if its_folder == folder}
        masked = find_annotated(folder, ids.values()).union(find_masks(folder, ids.values(), []))
        found.update(path for path, id_ in ids.items() if id_ in masked)
    return frozenset(found)


def location(path: Path) -> Path:
    """Returns where a file lies, which can itself be a link, whatever links lead there."""
    return path.parent.resolve() / path.name
