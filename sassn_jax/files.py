"""Paths and texts as users write them, and files that appear whole or not at all."""

import codecs
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sassn_jax.errors import InputError, OccupiedError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path whose `~` or `~USER` at the start has become that user's home folder.

    A shell does so too, but not after the `=` of a flag. `./~` names a file that is called `~`.
    What this function returns may be given to it again.

    Raises:
      InputError: if there is no such user.
    """
    text = os.fspath(path)
    found = Path(os.path.expanduser(text))
    if not str(found).startswith("~"):
        return found
    if text.startswith("~"):
        raise InputError(
            f"no user has the home folder in {text!r}; write the path out, or put ./ before it"
        )
    return Path.cwd() / found  # `Path` would make `~` of `./~`, which would be expanded again


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the path into an error of writing to it, which names none where the disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, and renames it to `path` if that succeeds.

    Its name is one that no process of any host has; who writes makes the file, so that its mode is
    that of other files.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with naming(path):
            yield beside
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text that are not blank, without the white space around them.

    The text is UTF-8 or, where a byte order mark says so, as in what PowerShell writes, UTF-16.

    Raises:
      ValueError: where the file is neither, or has a NUL, which no text has.
    """
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if "\0" in text:
        raise ValueError(f"{path}: holds NUL; expected text")
    return [line.strip() for line in text.splitlines() if line.strip()]


@contextlib.contextmanager
def occupied(folder: Path, doing: str, flag: str) -> Iterator[None]:
    """Keeps other processes out of a folder until the block ends, or this process dies.

    A file system that has no locks keeps nobody out. Nothing is left behind in the folder.

    Args:
      folder: one that is there.
      doing: what goes on in it, such as "training there", for the others' message.
      flag: by which a user chose the folder, likewise.

    Raises:
      OccupiedError: if another process is in it.
    """
    path = folder / ".lock"
    while True:
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OccupiedError(
                    f"{folder}: another process is {doing}; wait for it, or choose another {flag}"
                ) from None
            except OSError:
                pass
            if os.fstat(file.fileno()).st_nlink == 0:  # removed by who had it, since it was opened
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
