"""Errors in reading and writing checkpoints as one line, and damage told from other failures."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import jax

from sassn_jax import processes
from sassn_jax.errors import InputError, UnfitError, UnreadableError, one_line

# Errors that say nothing of damage: Python's and JAX's, and the beginnings of TensorStore's.
OF_THE_MACHINE = (MemoryError, PermissionError, jax.errors.JaxRuntimeError)
OF_THE_SYSTEM = re.compile("PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED")
LONGEST = 200  # characters of another library's message


@contextlib.contextmanager
def failing(folder: Path, verb: str) -> Iterator[None]:
    """Turns any error of Orbax into one line that names the folder of the checkpoints.

    Args:
      folder: of the checkpoints.
      verb: what fails, as in "checkpoints cannot be written".

    Raises:
      UnfitError: in place of any other error, but for the loss of another process.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if _is_loss(error):
            raise  # which is no fault of the folder
        raise UnfitError(
            f"{folder}: checkpoints cannot be {verb} ({one_line(error)[:LONGEST]})"
        ) from error


@contextlib.contextmanager
def finding_damage(folder: Path) -> Iterator[None]:
    """Turns any error in reading a checkpoint into one line that names the checkpoint's folder.

    Files that are damaged can make Orbax and TensorStore fail in any way.

    Raises:
      UnreadableError: if the files are damaged.
      UnfitError: if they cannot be read for another reason.
    """
    try:
        yield
    except Exception as error:
        if _is_loss(error):
            raise
        cause: BaseException = error
        while cause.__cause__ is not None:  # Orbax puts arrays and paths around it
            cause = cause.__cause__
        reason = one_line(cause)[:LONGEST] or type(cause).__name__
        if isinstance(cause, OF_THE_MACHINE) or OF_THE_SYSTEM.search(reason):
            raise UnfitError(f"{folder}: cannot be read ({reason})") from error
        raise UnreadableError(f"{folder}: is damaged ({reason})") from error


def _is_loss(error: Exception) -> bool:
    return jax.process_count() > 1 and processes.is_loss(error)
