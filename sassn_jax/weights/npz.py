"""Named arrays in a `.npz` file."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.files import expanded

SUFFIX = ".npz"


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every array of a `.npz` file.

    Pickled objects are refused: they could run code.

    Args:
      path: of the file.

    Returns:
      The arrays by name.

    Raises:
      InputError: if the file is missing, unreadable, no `.npz`, or holds anything but plain arrays.
    """
    with _opened(path) as archive:
        arrays = dict(archive)
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy gives other files in a zip as bytes
                raise ValueError(f"{name} in it is no array")
        return arrays


def names(path: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the arrays of a `.npz` file; reads none of them.

    Raises:
      InputError: if the file is missing, unreadable or no `.npz`.
    """
    with _opened(path) as archive:
        return list(archive.files)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[np.lib.npyio.NpzFile]:
    """Opens a file, and turns every failure in reading it into one line."""
    path = expanded(path)
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named ones")
            with archive:
                yield archive
            return
    except FileNotFoundError:
        raise InputError(f"{os.fspath(path)}: no such file") from None
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # of many types: of zip files, of each compression, of NumPy
        reason = str(error).splitlines()[0] if str(error) else "empty"
    raise InputError(f"{os.fspath(path)}: expected a {SUFFIX} file of plain arrays ({reason})")
