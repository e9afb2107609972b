"""The steps between two log lines: the means of their metrics, and how their time was spent."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sassn_jax import data, methods
from sassn_jax.methods.state import Metrics

AHEAD = 2  # steps that may wait on the device, each with its batch
MUST_BE_FINITE = ("loss/", "gradient_norm/")  # beginnings of names of metrics


class Window:
    """The steps since the last log line: their metrics, and where their time went."""

    def __init__(self, unlogged: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begins now, with what `unlogged` gave where the run was stopped."""
        self._metrics: list[Mapping[str, Any]] = []
        self.restart()
        self._metrics.extend(unlogged)

    def restart(self) -> None:
        """Forgets the time so far, which went into something other than steps."""
        self._begin = time.perf_counter()
        self._waited = 0.0
        self._images = 0
        self._metrics.clear()

    def wait_for(self, batches: data.BatchIterator) -> methods.Batch:
        """Returns the next batch and counts the time until it is there as waiting for input."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        return batch

    def add(self, metrics: Metrics, *, images: int) -> None:
        """Adds a step of so many images; its metrics stay on the device until the window closes."""
        self._metrics.append(metrics)
        self._images += images
        if len(self._metrics) > AHEAD:
            jax.block_until_ready(self._metrics[-AHEAD - 1])

    def unlogged(self) -> list[dict[str, float]]:
        """Returns the metrics of each step since the last log line."""
        steps = jax.device_get(self._metrics)
        return [{name: float(value) for name, value in step.items()} for step in steps]

    def close(self) -> dict[str, float]:
        """Returns the means over the steps that have each metric, and begins anew."""
        values: dict[str, list[float]] = {}
        for metrics in jax.device_get(self._metrics):  # waits for the steps
            for name, value in metrics.items():
                values.setdefault(name, []).append(float(value))
        seconds = time.perf_counter() - self._begin
        means = {
            name: float(np.mean(known)) if (known := _known(name, numbers)) else math.nan
            for name, numbers in values.items()
        }
        means["images_per_second"] = self._images / seconds
        means["input_wait"] = self._waited / seconds
        self.restart()
        return means


def _known(name: str, numbers: list[float]) -> list[float]:
    """Drops steps for which a diagnostic is undefined; what must be finite stays as it is."""
    return numbers if name.startswith(MUST_BE_FINITE) else [x for x in numbers if not math.isnan(x)]
