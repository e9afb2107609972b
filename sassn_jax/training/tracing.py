"""A trace of some steps of a run, as `config.profile` asks for it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from sassn_jax import processes
from sassn_jax.config import Config


class Trace:
    """Traces the steps of `config.profile`, in the first process. Use as a context manager.

    A run that goes on among these steps traces none of them.
    """

    def __init__(self, config: Config, start: int, folder: Path, say: Callable[[str], None]):
        """Traces nothing yet.

        Args:
          config: of the run.
          start: steps that have been taken.
          folder: of the run, below which TensorBoard's plugin finds the trace.
          say: prints a line when the trace is written.
        """
        self._folder, self._say = folder, say
        self._running = contextlib.ExitStack()
        self._steps = range(0)
        if config.profile and processes.is_first() and start <= config.profile[0]:
            self._steps = range(config.profile[0] + 1, sum(config.profile) + 1)

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    def begin(self, step: int) -> None:
        """Begins the trace before the first of its steps."""
        if self._steps and step == self._steps[0]:
            trace = jax.profiler.trace(self._folder, create_perfetto_trace=True)
            self._running.enter_context(trace)

    def end(self, step: int, results: Any) -> None:
        """Ends the trace after the last of its steps, once its results are there."""
        if self._steps and step == self._steps[-1]:
            jax.block_until_ready(results)
            self._running.close()
            self._say(f"steps {self._steps[0]} to {step} are traced in {self._folder}")
