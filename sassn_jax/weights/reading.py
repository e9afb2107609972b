"""One line for whatever fails while a file is read."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sassn_jax.errors import InputError, one_line
from sassn_jax.files import expanded

MOST = 20  # times the size of its file: what arrays may take
SMALL = 2**26  # bytes: what they may take in any case


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], expected: str) -> Iterator[Path]:
    """Turns every failure of the block into an `InputError` of one line.

    Args:
      path: the file; the block is given it with `~` expanded.
      expected: what the file should be, for the message.
    """
    path = expanded(path)
    try:
        yield path
        return
    except FileNotFoundError:
        reason = "no such file"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # the libraries' errors on damaged files share no type
        reason = one_line(str(error).partition("\n")[0])[:300] or type(error).__name__
    raise InputError(f"{path}: expected {expected} ({reason})")


def check_expansion(needed: int, path: Path) -> None:
    """Checks what the arrays of a file take in memory, before memory is taken for them.

    Compression, and arrays that share their numbers, make it more than the size of the file.

    Args:
      needed: bytes of all arrays, as the file states them.
      path: the file.

    Raises:
      ValueError: if it is more than `MOST` times the size of the file, and than `SMALL`.
    """
    size = path.stat().st_size
    if needed > max(MOST * size, SMALL):
        raise ValueError(
            f"its arrays take {needed} bytes, more than {MOST} times the {size} of the file"
        )
