"""Progress of a run: a bar on a terminal, lines of text elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sassn_jax.terminal import make_console, printable

LINE_EVERY = 15.0  # seconds


def _describe(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class BarReporter:
    """A progress bar that stays at the foot of the terminal."""

    def __init__(self, console: Console, name: str, num_steps: int):
        """Makes a bar of `num_steps` steps."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task(printable(name, console), total=num_steps, values="")

    def __enter__(self) -> "BarReporter":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def update(self, step: int) -> None:
        """Moves the bar."""
        self._progress.update(self._task, completed=step)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Shows values beside the bar."""
        self._progress.update(self._task, completed=step, values=_describe(values))

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        console = self._progress.console
        console.print(printable(text, console))


class LineReporter:
    """A line of text every `LINE_EVERY` seconds, for logs."""

    def __init__(self, console: Console, name: str, num_steps: int):
        """Names the run and its length."""
        self._console, self._name, self._num_steps = console, name, num_steps
        self._values: Mapping[str, float] = {}
        self._last = time.monotonic()

    def __enter__(self) -> "LineReporter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, step: int) -> None:
        """Prints the step and the latest values, if the last line is old enough."""
        if time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            self.say(f"step {step}/{self._num_steps}  {_describe(self._values)}".rstrip())

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Takes new values, and prints them if the last line is old enough."""
        self._values = values
        self.update(step)

    def say(self, text: str) -> None:
        """Prints a line."""
        self._console.print(printable(f"{self._name}: {text}", self._console))


Reporter = BarReporter | LineReporter


def make_reporter(name: str, num_steps: int) -> Reporter:
    """Returns a bar if the output goes to a terminal, lines otherwise."""
    console = make_console(soft_wrap=True)
    if console.is_terminal:
        return BarReporter(console, name, num_steps)
    return LineReporter(console, name, num_steps)
