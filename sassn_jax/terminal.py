"""Printing plain text on terminals of any kind."""

import sys
from typing import Any

from rich.console import Console


def make_console(*, stderr: bool = False, **options: Any) -> Console:
    """Returns a console that prints text unchanged: without markup, emoji or highlighting.

    Args:
      stderr: whether to print to standard error.
      **options: further options of `rich.console.Console`.
    """
    # Rich draws tables in ASCII if the encoding of this very stream requires it.
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, emoji=False, highlight=False, **options)


def printable(text: str, console: Console) -> str:
    """Replaces each character that the console's encoding lacks by `?`."""
    return text.encode(console.encoding, "replace").decode(console.encoding)
