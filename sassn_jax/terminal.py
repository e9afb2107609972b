"""Printing plain text on terminals of any kind."""

import os
import sys
from typing import Any

from rich.console import Console

STDOUT, STDERR = 1, 2  # as the system numbers them


class _Console(Console):
    """Goes on without a word where its reader has gone, as in `sassn train ... | head -1`.

    The files that a command writes are of use without those who read its lines.
    """

    def on_broken_pipe(self) -> None:
        silence_broken_pipe()


def make_console(*, stderr: bool = False, **options: Any) -> Console:
    """Returns a console that prints text unchanged: without markup, emoji or highlighting.

    Args:
      stderr: whether to print to standard error.
      **options: further options of `rich.console.Console`.
    """
    # Rich draws tables in ASCII if the encoding of this very stream requires it.
    stream = sys.stderr if stderr else sys.stdout
    return _Console(file=stream, markup=False, emoji=False, highlight=False, **options)


def silence(*outputs: int) -> None:
    """Lets what is printed to these file descriptors go nowhere."""
    with open(os.devnull, "w") as nowhere:
        for output in outputs:
            os.dup2(nowhere.fileno(), output)


def silence_broken_pipe() -> None:
    """Silences standard output, whose reader has gone; standard error too if it had the same."""
    silence(*((STDOUT, STDERR) if os.path.sameopenfile(STDOUT, STDERR) else (STDOUT,)))


def flush_output() -> None:
    """Writes what has been printed; does nothing if its reader has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence_broken_pipe()


def printable(text: str, console: Console) -> str:
    """Replaces each character that the console's encoding lacks by `?`."""
    return text.encode(console.encoding, "replace").decode(console.encoding)
