"""Named arrays in a `.npz` file."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from sassn_jax.weights.reading import reading

SUFFIX = ".npz"


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns every array of a `.npz` file by name.

    Pickled objects are refused: they could run code.

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
    """Returns the names of the arrays of a `.npz` file, without reading the arrays.

    Raises:
      InputError: if the file is missing, unreadable or no `.npz`.
    """
    with _opened(path) as archive:
        return list(archive.files)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[np.lib.npyio.NpzFile]:
    expected = f"a {SUFFIX} file of plain arrays"
    with reading(path, expected) as path, open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not an archive of named ones")
        with archive:
            yield archive
