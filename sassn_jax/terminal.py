"""Printing what others named, on terminals of any kind."""

import sys
from typing import Any

from rich.console import Console


def make_console(*, stderr: bool = False, **options: Any) -> Console:
    """Returns a console that prints text as it is: no markup, no emoji, no colours by guess.

    Args:
      stderr: whether it prints to standard error.
      **options: more of Rich's.
    """
    # The stream itself, whose encoding says whether a table may have lines that are not ASCII.
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, emoji=False, highlight=False, **options)


def printable(text: str, console: Console) -> str:
    """Returns a text with `?` for what the console's stream cannot encode, which may be strict."""
    return text.encode(console.encoding, "replace").decode(console.encoding)
