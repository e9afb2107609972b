"""Which training images are labelled: chosen by a fraction and a seed, or named in a file."""

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from sassn_jax.errors import InputError
from sassn_jax.files import expanded, read_lines, write_json

IMAGE_FILE = re.compile(r"\.(jpe?g|png|bmp|tiff?|webp)$", re.IGNORECASE)


class Split(NamedTuple):
    """What a run learns from.

    Attributes:
      labeled: ids of the images whose masks are used.
      unlabeled: ids of the images whose masks are not.
      fingerprint: of the dataset that they are of, see `Dataset`.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    fingerprint: str = ""


def choose_labeled(ids: Sequence[str], labels: str, seed: int) -> Split:
    """Chooses the images that count as labelled.

    The choice depends on nothing but the seed and the names, so it is the same on every machine. A
    smaller fraction of the same seed is a part of a larger one.

    Args:
      ids: all training images.
      labels: a fraction in (0, 1], such as `1/8`, `0.125` or `1`; or the path of a file of ids,
        one a line. In place of an id there may be the path of the image, and after it that of its
        mask, as in the lists of UniMatch.
      seed: of the choice; not used where a file names the ids.

    Returns:
      floor(len(ids) * fraction) labelled ids, at least one, and the others, both in the order of
      `ids`.

    Raises:
      InputError: where `labels` is neither, or the file's ids are not a proper choice from `ids`.
    """
    fraction = _parse_fraction(labels)
    if fraction is None:
        labeled = _read_ids(expanded(labels), ids)
    else:
        count = max(1, math.floor(len(ids) * fraction))
        labeled = set(sorted(ids, key=lambda id_: _draw(seed, id_))[:count])
    return Split(
        tuple(id_ for id_ in ids if id_ in labeled),
        tuple(id_ for id_ in ids if id_ not in labeled),
    )


def _draw(seed: int, id_: str) -> bytes:
    # A hash rather than NumPy's generators, whose streams may change between releases.
    return hashlib.sha256(f"{seed}:{id_}".encode()).digest()


def _parse_fraction(labels: str) -> Fraction | None:
    """The fraction that `labels` spells, None where it names a file."""
    expected = f"{labels=!r}: expected a fraction such as 1/8, or a file of ids"
    try:
        fraction = Fraction(labels)
    except ZeroDivisionError:
        raise InputError(expected) from None
    except ValueError:
        if expanded(labels).is_file():
            return None
        raise InputError(f"{expected} (there is no such file)") from None
    if not 0 < fraction <= 1:
        raise InputError(f"{expected} (a fraction is above 0 and at most 1)")
    return fraction


def _read_ids(path: Path, known: Sequence[str]) -> set[str]:
    try:
        lines = read_lines(path)
    except ValueError:
        raise InputError(f"{path}: expected text, one id a line") from None
    if not lines:
        raise InputError(f"{path}: holds no ids; expected one a line")
    allowed = frozenset(known)
    ids: set[str] = set()
    for line in lines:
        id_ = line if line in allowed else _id_of_files(line, allowed)
        if id_ is None:
            raise InputError(
                f"{path}: {line!r} is not one of the {len(known)} training images "
                f"(such as {known[0]!r})"
            )
        if id_ in ids:
            raise InputError(f"{path}: id {id_!r} occurs twice; name each image once")
        ids.add(id_)
    return ids


def _id_of_files(line: str, allowed: Collection[str]) -> str | None:
    """The one of the ids that a line names by the path of its image, perhaps with its mask's.

    Paths may hold spaces, but for the first folder's name, which could as well be a word before the
    path. Where a line ends as an image file does, so does each of its paths, and that tells one
    path from two. Elsewhere both are tried, without spaces in folders' names. None where a line can
    be read in several ways.
    """
    cuts = [(line[: gap.start()], line[gap.end() :]) for gap in re.finditer(r"\s+", line)]
    readings: list[tuple[str, ...]]
    if IMAGE_FILE.search(line):
        readings = [cut for cut in cuts if IMAGE_FILE.search(cut[0])] or [(line,)]
        if len(readings) > 1 or re.match(r"[^/\\]*\s.*[/\\]", readings[0][0]):
            return None
    else:
        readings = [*cuts] if re.search(r"\s.*[/\\]", line) else [*cuts, (line,)]
    for slashes in ("/", "/\\"):  # a file of POSIX may have a backslash in its name
        found = set()
        for paths in readings:
            first, *others = (_ids_of_file(path, slashes, allowed) for path in paths)
            common = [id_ for id_ in first if all(id_ in ids for ids in others)]
            found.update(common[:1])
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _ids_of_file(path: str, slashes: str, allowed: Collection[str]) -> list[str]:
    """The ids that a file may be of, as VOC and Cityscapes name images and masks; longest first."""
    *folders, name = re.split(f"[{re.escape(slashes)}]", path)
    stem = IMAGE_FILE.sub("", name)
    names = (name, stem, re.sub(r"_(leftImg8bit|gtFine_label(Train)?Ids)$", "", stem))
    ids = ("/".join([*folders[i:], x]) for i in range(len(folders) + 1) for x in names)
    return [id_ for id_ in ids if id_ in allowed]


def write_split(path: str | os.PathLike[str], split: Split) -> None:
    """Writes a split as JSON; the file appears whole or not at all."""
    write_json(Path(path), split._asdict())


def read_split(path: str | os.PathLike[str]) -> Split:
    """Reads what `write_split` wrote.

    Raises:
      InputError: where the file is no such JSON.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        labeled, unlabeled = (_tuple_of_strings(content[x]) for x in ("labeled", "unlabeled"))
        return Split(labeled, unlabeled, str(content.get("fingerprint", "")))
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{os.fspath(path)}: expected JSON with {', '.join(Split._fields)}"
        ) from None


def _tuple_of_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r}: expected a list of strings")
    return tuple(value)
