"""Named arrays in a `.npz` file."""

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator

import numpy as np

from sassn_jax.weights.reading import check_expansion, reading

SUFFIX = ".npz"
_MEMBER = ".npy"  # the end of the name of each array in the zip file
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as NumPy packs them
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns every array of a `.npz` file by name.

    Pickled objects are refused: they could run code. Sizes are checked before memory is taken.

    Raises:
      InputError: if the file is missing, unreadable, no `.npz`, holds anything but plain arrays, or
        takes far more memory than its size.
    """
    with _opened(path) as archive:
        for part in archive.infolist():
            if not part.filename.endswith(_MEMBER):
                raise ValueError(f"{part.filename} in it is no array")
            if part.compress_type not in _PACKED:
                raise ValueError(
                    f"{part.filename} in it has another compression method than NumPy's"
                )
        return {
            part.filename.removesuffix(_MEMBER): _array(archive.read(part), part.filename)
            for part in archive.infolist()
        }


def names(path: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the arrays of a `.npz` file, without reading the arrays.

    Raises:
      InputError: if the file is missing, unreadable or no `.npz`.
    """
    with _opened(path) as archive:
        return [name.removesuffix(_MEMBER) for name in archive.namelist()]


def _array(content: bytes, name: str) -> np.ndarray:
    """Returns the array in the content of a `.npy` file, whose header states its size."""
    file = io.BytesIO(content)
    read_header = _HEADERS.get(np.lib.format.read_magic(file))
    if read_header is None:
        raise ValueError(f"{name!r} in it is no plain array")
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError(f"{name!r} in it is pickled; allow_pickle=True would run its code")
    stated, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if stated != there:
        raise ValueError(f"{name!r} in it has {there} bytes, but states {stated}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    expected = f"a {SUFFIX} file of plain arrays"
    with reading(path, expected) as path, open(path, "rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise ValueError("a single array, not an archive of named ones")
        with zipfile.ZipFile(file) as archive:
            check_expansion(sum(part.file_size for part in archive.infolist()), path)
            yield archive
