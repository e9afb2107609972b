"""What came of a cell: one file, written whole; and what several seeds of it come to."""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.reproduction.cells import Cell
from sassn_jax.errors import InputError

FILE = "result.json"
FOLDER = "cells"
METRICS = "metrics.jsonl"
DISCRIMINATOR_LOSS = "loss/discriminator"
# Of a D of pixels, by AdvSemiSeg's author's rule of thumb: below, D has won and teaches little; one
# that cannot tell has log 2.
HEALTHY_LOSS = (0.2, 0.5)
DIVERGED = "TrainingError"  # a loss that is not finite


@dataclasses.dataclass(frozen=True)
class Summary:
    """The mean over seeds, with its spread.

    Attributes:
      count: seeds.
      mean: NaN where there are none.
      spread: sample standard deviation, NaN where there are fewer than two.
    """

    count: int
    mean: float
    spread: float


def summarize(values: Iterable[float | None]) -> Summary:
    """Returns mean and spread of the values that are there."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return Summary(
        len(known),
        statistics.fmean(known) if known else math.nan,
        statistics.stdev(known) if len(known) > 1 else math.nan,
    )


def folder_of(workdir: Path, cell: Cell) -> Path:
    """Returns the workdir of a cell's run."""
    return workdir / FOLDER / cell.name


def read(folder: Path, name: str = FILE) -> dict[str, Any] | None:
    """Returns what a file in the folder of a cell holds, None where there is none.

    Raises:
      InputError: if it is not JSON.
    """
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{folder / name}: not JSON ({error}); remove it") from None


def is_finished(result: dict[str, Any] | None) -> bool:
    """Returns whether a cell has scores."""
    return result is not None and "error" not in result


def has_diverged(result: dict[str, Any]) -> bool:
    """Returns whether a loss of the run was not finite."""
    return result.get("error_kind") == DIVERGED


def has_ended(result: dict[str, Any] | None) -> bool:
    """Returns whether a cell need not be run again: it has scores, or has diverged, as it would."""
    return result is not None and (is_finished(result) or has_diverged(result))


def read_seeds(workdir: Path, cell: Cell) -> list[dict[str, Any]]:
    """Returns the results of a cell for all seeds that are there, also of failed ones."""
    found = []
    pattern = dataclasses.replace(cell, seed=0).name.removesuffix("0") + "*"
    for folder in sorted((workdir / FOLDER).glob(pattern)):
        seed = folder.name[len(pattern) - 1 :]
        if seed.isdecimal() and (result := read(folder)) is not None:
            found.append((int(seed), result))
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def finished(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns those that have scores."""
    return [result for result in results if is_finished(result)]


def last_health(workdir: Path) -> dict[str, float | None]:
    """Returns the last value of each metric of the training; None for one that is not finite.

    A line that was cut short, as by a full disk, is passed over.
    """
    values: dict[str, float | None] = {}
    path = workdir / METRICS
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            values.update({k: v for k, v in row.items() if not k.startswith("val")})
    return values


def is_healthy(result: dict[str, Any]) -> bool:
    """Returns whether a run with a D ended well: finite, and D's last loss in `HEALTHY_LOSS`."""
    if not is_finished(result):
        return False
    health = result["health"]
    checked = [
        value for name, value in health.items() if name.startswith(("loss/", "gradient_norm/"))
    ]
    low, high = HEALTHY_LOSS
    loss = health.get(DISCRIMINATOR_LOSS)
    return None not in checked and loss is not None and low <= loss <= high


def count_healthy(results: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Returns how many runs ended well, and of how many, those that diverged included."""
    runs = [result for result in results if has_ended(result)]
    return sum(map(is_healthy, runs)), len(runs)
