"""What a run can fail of, other than a bug."""

from collections.abc import Sequence


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
