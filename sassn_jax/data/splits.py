"""The choice of labelled training images: by a fraction and a seed, or by a file of ids."""

import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from sassn_jax.data.lists import read_list
from sassn_jax.errors import InputError, check
from sassn_jax.files import StrPath, expanded, read_json, write_json

# What `Fraction` reads, but for exponents such as that of 1e1000000000, which fill the memory.
FRACTION = re.compile(r"\s*[-+]?\d{1,20}(/\d{1,20}|\.\d{0,20})?\s*|\s*[-+]?\.\d{1,20}\s*", re.ASCII)
IMAGE_FILE = re.compile(r"\.(jpe?g|png|bmp|tiff?|webp)$", re.IGNORECASE)


class Split(NamedTuple):
    """The training images of a run.

    Attributes:
      labeled: ids of the images whose masks are used.
      unlabeled: ids of the images whose masks are not used.
      fingerprint: of the dataset, see `Dataset`.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    fingerprint: str = ""


def choose_labeled(ids: Sequence[str], labels: str, seed: int) -> Split:
    """Chooses the labelled images.

    The choice depends only on the seed and the ids, so it is the same on every machine. With the
    same seed, the images of a smaller fraction are among those of a larger one.

    Args:
      ids: of all training images.
      labels: a fraction in (0, 1], such as `1/8`, `0.125` or `1`; or the path of a file of ids,
        one per line. A line may also hold the path of the image, or the paths of the image and its
        mask as in UniMatch's lists.
      seed: of the choice by a fraction.

    Returns:
      floor(len(ids) * fraction) labelled ids, at least one, and the unlabelled rest. Both are in
      the order of `ids`.

    Raises:
      InputError: if `labels` is neither a fraction nor a file, or the file has an unknown id or an
        id twice.
    """
    fraction = _parse_fraction(labels)
    if fraction is None:
        labeled = frozenset(_read_ids(expanded(labels), ids))
    else:
        count = max(1, math.floor(len(ids) * fraction))
        labeled = frozenset(sorted(ids, key=lambda id_: draw(seed, id_))[:count])
    return Split(
        tuple(id_ for id_ in ids if id_ in labeled), tuple(id_ for id_ in ids if id_ not in labeled)
    )


def draw(seed: int, id_: str) -> bytes:
    """Returns what images are sorted by to draw some of them."""
    # A hash, because the streams of NumPy's generators may change between releases.
    return hashlib.sha256(f"{seed}:{id_}".encode()).digest()


def _parse_fraction(labels: str) -> Fraction | None:
    """Returns the value of `labels` if it is a fraction, and None if it is the name of a file."""
    expected = "a fraction such as 1/8, or a file of ids"
    if not FRACTION.fullmatch(labels):
        check(expanded(labels).is_file(), "labels", labels, f"{expected} (there is no such file)")
        return None
    try:
        fraction = Fraction(labels)
    except ZeroDivisionError:
        fraction = Fraction(0)
    above = f"{expected} (a fraction is above 0 and at most 1)"
    check(0 < fraction <= 1, "labels", labels, above)
    return fraction


def _read_ids(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    allowed = frozenset(known)

    def to_id(line: str) -> str:
        if (id_ := id_of_line(line, allowed)) is None:
            raise InputError(
                f"{path}: {line!r} is not one of the {len(known)} training images "
                f"(such as {known[0]!r})"
            )
        return id_

    return read_list(path, "image ids", to_id)


def id_of_line(line: str, allowed: Collection[str]) -> str | None:
    """Returns the id of the image that a line of a list names, by its id or its path.

    A line may also hold the paths of the image and its mask. Returns None for a line that names no
    image, or can be read in several ways.
    """
    if line in allowed:
        return line
    line = unicodedata.normalize("NFC", line)  # as the ids of a folder are
    return line if line in allowed else _id_of_files(line, allowed)


def _id_of_files(line: str, allowed: Collection[str]) -> str | None:
    """Returns the id of the image whose path is in a line, alone or before the path of its mask.

    If the line ends in `.png` or the like, each of its paths does, so a path may have spaces. Only
    the first folder's name may have none, since the line could as well begin with another word.
    Other lines are read both as one path and as two, for folders without spaces in their names.
    Returns None for a line that names no image or can be read in several ways.
    """
    cuts = [(line[: gap.start()], line[gap.end() :]) for gap in re.finditer(r"\s+", line)]
    readings: list[tuple[str, ...]]
    if IMAGE_FILE.search(line):
        readings = [cut for cut in cuts if IMAGE_FILE.search(cut[0])] or [(line,)]
        if len(readings) > 1 or re.match(r"[^/\\]*\s.*[/\\]", readings[0][0]):
            return None
    else:
        readings = [*cuts] if re.search(r"\s.*[/\\]", line) else [*cuts, (line,)]
    for slashes in ("/", "/\\"):  # on Linux a file may have a backslash in its name
        found = set()
        for paths in readings:
            first, *others = (_ids_of_file(path, slashes, allowed) for path in paths)
            common = [id_ for id_ in first if all(id_ in ids for ids in others)]
            found.update(common[:1])
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _ids_of_file(path: str, slashes: str, allowed: Collection[str]) -> list[str]:
    """Returns each id that fits the path of an image or mask, as VOC and Cityscapes name them.

    The longest comes first.
    """
    *folders, name = re.split(f"[{re.escape(slashes)}]", path)
    stem = IMAGE_FILE.sub("", name)
    names = (name, stem, re.sub(r"_(leftImg8bit|gtFine_label(Train)?Ids)$", "", stem))
    ids = ("/".join([*folders[i:], x]) for i in range(len(folders) + 1) for x in names)
    return [id_ for id_ in ids if id_ in allowed]


def write_split(path: StrPath, split: Split) -> None:
    """Writes a split as JSON; the file appears whole or not at all."""
    write_json(Path(path), split._asdict())


def read_split(path: StrPath) -> Split:
    """Reads a split from a file that `write_split` wrote.

    Raises:
      InputError: if the file has other content.
    """
    try:
        content = read_json(path)
        labeled, unlabeled = content["labeled"], content["unlabeled"]
        if not all(isinstance(ids, list) for ids in (labeled, unlabeled)):
            raise TypeError("expected lists")
        if not all(isinstance(id_, str) for id_ in (*labeled, *unlabeled)):
            raise TypeError("expected ids")
        return Split(tuple(labeled), tuple(unlabeled), str(content.get("fingerprint", "")))
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{os.fspath(path)}: expected JSON with {', '.join(Split._fields)}"
        ) from None
