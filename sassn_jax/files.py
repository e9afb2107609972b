"""Reading paths and text as users write them; writing files whole or not at all."""

import codecs
import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sassn_jax.errors import InputError, OccupiedError, one_line

StrPath = str | os.PathLike[str]
LARGEST_JSON = 2**26  # bytes
_DEEPEST = 50  # lists and objects in each other; a config has three
_LONGEST_LINE = 2000  # characters; a list holds up to two paths in a line
_TOO_DEEP = f"lists or objects in each other more than {_DEEPEST} times"


def expanded(path: StrPath) -> Path:
    """Replaces `~` or `~USER` at the start of a path by that user's home folder.

    A shell does the same, but not after the `=` of a flag. A file that is called `~` is written
    `./~`. To expand a path twice is the same as to expand it once.

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
    return Path.cwd() / found  # `Path("./~")` is `~`, which a second call would expand


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to an `OSError`. The error of a full disk names no path by itself."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder, and renames it to `path` if the block succeeds.

    The temporary name is random, so that processes on several hosts do not share it. The caller
    creates the file, so that it has the usual mode.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with naming(path):
            yield beside
            beside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # on a read-only file system it fails without a file too
            beside.unlink()


def remove_parts(folder: Path) -> None:
    """Removes the temporary files that `replacing` leaves in a folder if its process is killed."""
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{16}", path.name):
            path.unlink(missing_ok=True)


class Appender:
    """Appends bytes to a file. What a full disk does not take is kept, and can be tried again."""

    def __init__(self, path: Path):
        """Opens the file; makes it if it is not there."""
        self._file = path.open("ab", buffering=0)
        self._kept = bytearray()

    def append(self, data: bytes) -> None:
        """Takes data for the next `flush`."""
        self._kept += data

    def flush(self) -> None:
        """Writes what is kept.

        Raises:
          OSError: if that cannot be written, or only a part of it; the rest is still kept.
        """
        while self._kept:
            del self._kept[: self._file.write(self._kept)]

    def close(self) -> None:
        """Writes what is kept and closes the file; raises as `flush`."""
        with self._file:
            self.flush()


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON; the file appears whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: StrPath, largest: int = LARGEST_JSON) -> Any:
    """Reads a file of JSON, which may be from a stranger.

    Args:
      path: the file.
      largest: bytes that it may have. In memory they can become some 25 times as many.

    Raises:
      ValueError: saying in one line why it is no such JSON: another format, too large, or nested
        too deeply.
      OSError: if the file cannot be read.
    """
    size = Path(path).stat().st_size
    if size > largest:
        raise ValueError(f"{size} bytes; expected at most {largest}")
    return parse_json(Path(path).read_bytes())


def parse_json(content: str | bytes) -> Any:
    """Parses JSON, which may be from a stranger.

    Raises:
      ValueError: saying in one line why it is none, or that it is nested too deeply.
    """
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ValueError(one_line(error)) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    depth, level = 0, [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(_TOO_DEEP)
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [x for values in inner for x in values if isinstance(x, dict | list)]
    return value


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file, stripped of white space, without blank lines.

    The text is UTF-8, or UTF-16 (as PowerShell writes it) if the file has its byte order mark.

    Raises:
      ValueError: if the file is in neither encoding, or has a NUL character or a very long line.
    """
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    if "\0" in text:
        raise ValueError(f"{path}: holds NUL; expected text")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(len(line) > _LONGEST_LINE for line in lines):
        raise ValueError(f"{path}: holds a line of more than {_LONGEST_LINE} characters")
    return lines


@contextlib.contextmanager
def occupied(folder: Path, doing: str, argument: str) -> Iterator[None]:
    """Locks a folder against other processes until the block ends or this process dies.

    The lock leaves no file behind. On a file system without locks this function does nothing.

    Args:
      folder: an existing folder.
      doing: what this process does, such as "training there"; for the message that others get.
      argument: the name of the argument that chose the folder; for the same message.

    Raises:
      OccupiedError: if another process holds the lock.
    """
    path = folder / ".lock"
    while True:
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OccupiedError(
                    f"{folder}: another process is {doing}; wait for it, or choose another "
                    f"{argument}"
                ) from None
            except OSError:
                pass  # the file system has no locks
            if os.fstat(file.fileno()).st_nlink == 0:  # the former owner removed the open file
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
