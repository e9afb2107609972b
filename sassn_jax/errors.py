"""Errors with a one-line message for the user, and checks that raise them."""

import signal
from collections.abc import Collection, Sequence

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # that stop a command or a run


class InputError(ValueError):
    """The user gave something wrong: an argument, a config field, a file or a folder.

    The message is one line: what came, what is allowed, what to do. Commands print it and exit
    with code 2.

    Attributes:
      details: lines of a list that is too long for the message; commands print them before it.
    """

    def __init__(self, message: str, details: Sequence[str] = ()):
        """Stores the details beside the message."""
        super().__init__(message)
        self.details = tuple(details)


class OccupiedError(InputError):
    """Another process is working in the folder. The same call can succeed later."""


class UnreadableError(InputError):
    """A file is damaged, empty or of another format. The other files can be used without it."""


class UnfitError(InputError):
    """This machine cannot do what was asked for, at least not now. Another machine may."""


class Notice(UserWarning):
    """Something that the user should know of, in one line; it stops nothing."""


class TrainingError(RuntimeError):
    """A run cannot continue. The message gives the reason in one line."""


class StoppedError(KeyboardInterrupt):
    """A signal has stopped a run, whose state is saved: the same call goes on from there.

    As any `KeyboardInterrupt`, it passes programs that go on after an `Exception`.
    """


def all_problems(problems: Sequence[str]) -> InputError:
    """Returns one error for some problems, a line each; its details list them if they are several.

    Args:
      problems: at least one.
    """
    if len(problems) == 1:
        return InputError(problems[0])
    return InputError(
        f"{problems[0]} (the first of {len(problems)} problems, which stand above)", problems
    )


def check(condition: bool, field: str, value: object, expected: str) -> None:
    """Checks the value of an argument or a config field.

    Args:
      condition: whether the value is allowed.
      field: name of the argument or field, such as `batch_size` or `model.head`.
      value: what the user gave.
      expected: what is allowed, as it completes the sentence "expected ...".

    Raises:
      InputError: if `condition` is false.
    """
    if not condition:
        raise InputError(f"{field}={value!r}: expected {expected}")


def check_name(field: str, value: object, allowed: Collection[str], where: str = "") -> None:
    """Checks that the value of an argument or a config field is among the `allowed` names.

    Raises:
      InputError: lists the allowed names. `where` ends the message, to say what the list depends
        on: ` on backbone='vgg16'`.
    """
    check(value in tuple(allowed), field, value, f"one of {', '.join(allowed)}{where}")


def one_line(reason: object) -> str:
    """Returns the text of an error without its line breaks."""
    return " ".join(str(reason).split())
