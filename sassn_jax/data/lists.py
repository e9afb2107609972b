"""Lists of image ids, and the folders that hold the files of those ids."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from sassn_jax.errors import InputError
from sassn_jax.files import read_lines, replacing

_FEW = 3  # lines that are alike in all but a file and numbers are still printed one by one
# What macOS and Windows leave in folders, besides names that begin with a dot.
_OF_SYSTEMS = {"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX"}


def read_list(
    path: Path,
    what: str,
    clean: Callable[[str], str] = lambda entry: entry,
    repeatable: Collection[str] = (),
) -> tuple[str, ...]:
    """Reads a list of one entry per line, and applies `clean` to each line.

    Raises:
      InputError: if the file is missing, empty or not text, or has an entry twice that is not among
        the `repeatable` ones. `what` says in the message what the entries are.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a list of {what}, one per line")
    try:
        lines = read_lines(path)
    except ValueError:
        raise InputError(f"{path}: not a text file; expected {what}, one per line") from None
    if not lines:
        raise InputError(f"{path}: empty; expected {what}, one per line")
    entries = tuple(map(clean, lines))
    seen: set[str] = set()
    for entry in entries:
        if entry in seen and entry not in repeatable:
            raise InputError(f"{path}: {entry!r} occurs twice; expected each of the {what} once")
        seen.add(entry)
    return entries


def write_lists(folder: Path, splits: Mapping[str, Iterable[str]]) -> None:
    """Writes the ids of each split as `SPLIT.txt` into a folder, one per line, for people."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, ids in splits.items():
        with replacing(folder / f"{split}.txt") as beside:
            beside.write_text("".join(f"{id_}\n" for id_ in ids), encoding="utf-8")


def check_folder(
    folder: Path, suffix: str, ids: Collection[str], lists: str, others: bool = False
) -> None:
    """Checks that a folder has a file `ID` + `suffix` for each id, and unless `others`, no others.

    Raises:
      InputError: names the first files that are missing or superfluous, how many there are, and the
        `lists` that the ids are from.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected ID{suffix} for each id in {lists}")
    expected = {f"{id_}{suffix}" for id_ in ids}
    found = {path.name for path in folder.iterdir() if not is_of_system(path.name)}
    if missing := expected - found:
        raise InputError(
            f"{folder / min(missing)}: no such file, but its id is in {lists}"
            f"{name_several(missing)}"
        )
    if not others and (extra := found - expected):
        raise InputError(
            f"{folder / min(extra)}: its id is not in {lists}{name_several(extra)}; remove the "
            "file, or complete the list"
        )


def is_of_system(name: str) -> bool:
    """Whether a file was left by an operating system, such as `.DS_Store`, `._1.png`, `Thumbs.db`.

    Every name that begins with a dot counts as such.
    """
    return name.startswith(".") or name in _OF_SYSTEMS


def name_several(names: Collection[str]) -> str:
    """Returns " (COUNT such: FIRST, SECOND, THIRD, ...)" for a message; nothing for one name."""
    first = ", ".join(sorted(names)[:3])
    more = ", ..." if len(names) > 3 else ""
    return f" ({len(names)} such: {first}{more})" if len(names) > 1 else ""


def group_alike(lines: Mapping[str, str]) -> list[str]:
    """Returns lines about single images, and one line for many that say the same.

    Args:
      lines: by id. If more than a few are alike but for the id, in quotes or in the path of a
        file, and for numbers, the first stands for all of them, with the number of images.
    """
    alike: dict[str, list[str]] = {}
    for id_, line in lines.items():
        plain = line.replace(f"/{id_}.", "/.").replace(repr(id_), "")
        alike.setdefault(re.sub(r"\d+", "0", plain), []).append(id_)
    found = []
    for ids in alike.values():
        if len(ids) > _FEW:
            found.append(f"{lines[ids[0]]}{name_several(ids)}")
        else:
            found += [lines[id_] for id_ in ids]
    return found
