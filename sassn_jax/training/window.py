"""The steps between two log lines: the means of their metrics, and how their time was spent."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sassn_jax import data, methods
from sassn_jax.methods.state import Metrics
from sassn_jax.training.skips import PREFIX, Skips

AHEAD = 2  # steps that may wait on the device, each with its batch


class Window:
    """The steps since the last log line: their metrics, and where their time went."""

    def __init__(self, skips: Skips, unlogged: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begins now, with what `unlogged` gave where the run was stopped.

        Args:
          skips: looks at each step once that is done.
          unlogged: see above.
        """
        self._skips = skips
        self._metrics: list[Mapping[str, Any]] = []
        self.restart()
        self._metrics.extend(unlogged)

    def restart(self) -> None:
        """Forgets the time so far, which went into something other than steps."""
        self._begin = time.perf_counter()
        self._waited = 0.0
        self._images = 0
        self._metrics.clear()
        self._skipped: list[bool] = []  # of the steps that have been looked at

    def wait_for(self, batches: data.BatchIterator) -> methods.Batch:
        """Returns the next batch and counts the time until it is there as waiting for input."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        return batch

    def add(self, step: int, metrics: Metrics, *, images: int) -> None:
        """Adds a step of so many images; its metrics stay on the device until the window closes."""
        self._metrics.append(metrics)
        self._step = step
        self._images += images
        self._look(AHEAD)

    def unlogged(self) -> list[dict[str, float]]:
        """Returns the metrics of each step since the last log line."""
        steps = jax.device_get(self._metrics)
        return [{name: float(value) for name, value in step.items()} for step in steps]

    def close(self) -> dict[str, float]:
        """Returns the means over the steps that have each metric, and begins anew.

        Steps in which an update was skipped have no part in the means. How many of a player were
        skipped since the start of the run stands in `skipped/`.
        """
        self._look(0)
        values: dict[str, list[float]] = {}
        for metrics, skipped in zip(jax.device_get(self._metrics), self._skipped, strict=True):
            for name, value in metrics.items():
                if not skipped:
                    values.setdefault(name, []).append(float(value))
        seconds = time.perf_counter() - self._begin
        means = {
            name: float(np.mean(known)) if (known := _known(numbers)) else math.nan
            for name, numbers in values.items()
        }
        means |= {f"{PREFIX}{player}": count for player, count in self._skips.counts.items()}
        means["images_per_second"] = self._images / seconds
        means["input_wait"] = self._waited / seconds
        self.restart()
        return means

    def _look(self, ahead: int) -> None:
        """Waits for all steps but the last few, and looks at those that have not been seen."""
        for index in range(len(self._skipped), len(self._metrics) - ahead):
            step = self._step - len(self._metrics) + 1 + index
            self._skipped.append(self._skips.look(step, self._metrics[index]))


def _known(numbers: list[float]) -> list[float]:
    """Drops steps for which a diagnostic is undefined."""
    return [x for x in numbers if not math.isnan(x)]
