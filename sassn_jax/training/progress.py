"""Progress of a run: a bar on a terminal, lines of text elsewhere."""

import datetime
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
LINES = 10  # a run whose values are logged as often has at least so many, however short it is


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
        text = f"at step {step}: {_describe(values)}"
        self._progress.update(self._task, completed=step, values=text)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        console = self._progress.console
        console.print(printable(text, console))


class LineReporter:
    """Lines of text for logs: every `LINE_EVERY` seconds, and for each tenth of the run.

    A line has the time of day, the step, the values that are new since the line before, with their
    step where it is another one, and an estimate of the time that is left: that of the steps since
    the first one, which waits for the compiler.
    """

    def __init__(self, console: Console, name: str, num_steps: int):
        """Names the run and its length."""
        self._console, self._name, self._num_steps = console, name, num_steps
        self._values = ""  # in words, until a line has shown them
        self._values_step = 0
        self._last = time.monotonic()
        self._last_part = 0
        self._first: tuple[int, float] | None = None  # a step, and when it was done

    def __enter__(self) -> "LineReporter":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, step: int) -> None:
        """Prints a line, if the last one is old enough."""
        now = time.monotonic()
        self._first = self._first or (step, now)
        if now - self._last >= LINE_EVERY:
            self._print(step, now)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Takes new values, and prints a line if the last one is of an earlier tenth or old."""
        self._values, self._values_step = _describe(values), step
        if self._part(step) > self._last_part:
            self._print(step, time.monotonic())
        else:
            self.update(step)

    def _part(self, step: int) -> int:
        return LINES * step // self._num_steps

    def _print(self, step: int, now: float) -> None:
        self._last, self._last_part = now, self._part(step)
        parts = [f"{time.strftime('%H:%M:%S')}  step {step}/{self._num_steps}"]
        if self._values:
            earlier = f"at step {self._values_step}: " if self._values_step < step else ""
            parts.append(f"{earlier}{self._values}")
            self._values = ""
        if self._first and self._first[0] < step < self._num_steps:
            first, then = self._first
            left = (now - then) / (step - first) * (self._num_steps - step)
            parts.append(f"about {datetime.timedelta(seconds=round(left))} left")
        self.say("  ".join(parts))

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
