"""Named arrays in a `.npz` file."""

import os
import zipfile
import zlib

import numpy as np

from sassn_jax.errors import InputError


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
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named ones")
            with archive:
                return dict(archive)
    except FileNotFoundError:
        raise InputError(f"weights={os.fspath(path)!r}: no such file") from None
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else "empty"
    raise InputError(
        f"weights={os.fspath(path)!r}: expected a .npz file of plain arrays ({reason})"
    )
