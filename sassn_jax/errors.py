"""What a run can fail of, other than a bug."""

from collections.abc import Collection, Sequence
from typing import Any


class InputError(ValueError):
    """Something that the user gave is wrong: a flag, a field of the config, a file or a folder.

    The message is one line: what came, what is allowed, what to do. Commands print it and exit
    with 2.

    Attributes:
      details: lines of a list of which the message has only the first few; commands print them
        before it.
    """

    def __init__(self, message: str, details: Sequence[str] = ()):
        """Keeps the details, where there are any."""
        super().__init__(message)
        self.details = tuple(details)


class OccupiedError(InputError):
    """Another process is at work in a folder, and will not be for ever."""


class UnfitError(InputError):
    """What is asked for cannot be done on this machine, or not now; on another it may be."""


class TrainingError(RuntimeError):
    """A run cannot go on, for a reason that its message gives in one line."""


def check_name(field: str, value: Any, allowed: Collection[str], where: str = "") -> None:
    """Checks a field that names something.

    Args:
      field: its name.
      value: what it was given.
      allowed: all names that it can have.
      where: of what the list depends on, if anything: ` on backbone='vgg16'`.

    Raises:
      InputError: listing what is allowed.
    """
    if value not in tuple(allowed):
        raise InputError(f"{field}={value!r}: expected one of {', '.join(allowed)}{where}")
