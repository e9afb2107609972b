"""What `experiments.benchmark` measures: one module for each of its verbs."""

import time
from collections.abc import Callable, Mapping
from typing import Any


def time_in_turn(
    runs: Mapping[str, Callable[[], Any]], warm_up: int, rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of each run in each round; the first `warm_up` rounds are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(warm_up + rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: times[warm_up:] for name, times in seconds.items()}
