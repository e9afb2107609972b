"""Which training images are labelled: chosen by a fraction and a seed, or named in a file."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from sassn_jax.errors import InputError
from sassn_jax.files import write_json


class Split(NamedTuple):
    """Ids of the images whose masks are used, and of those whose masks are not."""

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]


def choose_labeled(ids: Sequence[str], labels: str, seed: int) -> Split:
    """Chooses the images that count as labelled.

    The choice depends on nothing but the seed and the names, so it is the same on every machine. A
    smaller fraction of the same seed is a part of a larger one.

    Args:
      ids: all training images.
      labels: a fraction in (0, 1], such as `1/8`, `0.125` or `1`; or the path of a file of ids,
        one a line.
      seed: of the choice; not used where a file names the ids.

    Returns:
      floor(len(ids) * fraction) labelled ids, at least one, and the others, both in the order of
      `ids`.

    Raises:
      InputError: where `labels` is neither, or the file's ids are not a proper choice from `ids`.
    """
    fraction = _parse_fraction(labels)
    if fraction is None:
        labeled = set(_read_ids(Path(labels), ids))
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
        if Path(labels).is_file():
            return None
        raise InputError(f"{expected} (there is no such file)") from None
    if not 0 < fraction <= 1:
        raise InputError(f"{expected} (a fraction is above 0 and at most 1)")
    return fraction


def _read_ids(path: Path, known: Sequence[str]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text, one id a line") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: holds no ids; expected one a line")
    allowed = set(known)
    seen: set[str] = set()
    for id_ in ids:
        if id_ not in allowed:
            raise InputError(
                f"{path}: id {id_!r} is not one of the {len(known)} training images "
                f"(such as {known[0]!r})"
            )
        if id_ in seen:
            raise InputError(f"{path}: id {id_!r} occurs twice; name each image once")
        seen.add(id_)
    return ids


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
        return Split(*(_tuple_of_strings(content[field]) for field in Split._fields))
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{os.fspath(path)}: expected JSON with a list of ids under each of "
            f"{', '.join(Split._fields)}"
        ) from None


def _tuple_of_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r}: expected a list of strings")
    return tuple(value)
