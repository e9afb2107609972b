"""The result of a cell, which is one file, and the mean over several seeds."""

import contextlib
import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.reproduction.cells import Cell
from sassn_jax.errors import InputError
from sassn_jax.files import replacing
from sassn_jax.training.workdir import Workdir

FILE = "result.json"
FOLDER = "cells"
DISCRIMINATOR_LOSS = "loss/discriminator"
# A rule of thumb of AdvSemiSeg's author, for a D that judges pixels. Below 0.2 D has won and
# teaches little; a D that cannot tell real from fake has a loss of log 2 = 0.69.
HEALTHY_LOSS = (0.2, 0.5)
DIVERGED = "TrainingError"  # kind of the error of numbers that are not finite, step after step


@dataclasses.dataclass(frozen=True)
class Summary:
    """The mean over seeds, with its spread.

    Attributes:
      count: number of seeds.
      mean: NaN without seeds.
      spread: sample standard deviation, NaN for fewer than two seeds.
    """

    count: int
    mean: float
    spread: float


def summarize(values: Iterable[float | None]) -> Summary:
    """Returns mean and spread of the values that are finite."""
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
    """Returns the content of a file in a cell's folder, None if there is no such file.

    Raises:
      InputError: if it is not JSON.
    """
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{folder / name}: not JSON ({error}); remove it") from None


def write_csv(path: Path, headings: Iterable[str], lines: Iterable[dict[str, Any]]) -> None:
    """Writes a table whose columns are `headings`; what a line has besides is left out."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(headings), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def is_finished(result: dict[str, Any] | None) -> bool:
    """Returns whether a cell has scores."""
    return result is not None and "error" not in result


def has_ended(result: dict[str, Any] | None) -> bool:
    """Returns whether a cell need not be run again: it has scores, or would diverge again."""
    return result is not None and result.get("error_kind") in (None, DIVERGED)


def read_seeds(workdir: Path, cell: Cell) -> list[dict[str, Any]]:
    """Returns the results of all seeds of a cell, failed ones included."""
    prefix = dataclasses.replace(cell, seed=0).name.removesuffix("0")
    folders = (workdir / FOLDER).glob(f"{prefix}*")
    seeds = {folder.name.removeprefix(prefix): folder for folder in folders}
    found = (read(seeds[seed]) for seed in sorted(filter(str.isdecimal, seeds), key=int))
    return [result for result in found if result is not None]


def finished(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the results that have scores."""
    return [result for result in results if is_finished(result)]


def last_health(workdir: Path) -> dict[str, float | None]:
    """Returns the last value of each metric of the training; None if it is not finite.

    Skips lines that were cut short, as by a full disk.
    """
    values: dict[str, float | None] = {}
    path = Workdir(workdir).metrics
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            values |= json.loads(line)
    return {name: value for name, value in values.items() if not name.startswith("val")}


def count_healthy(results: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Returns how many runs with a D ended well, and how many finished or diverged.

    A run ends well if all is finite and D's last loss is in `HEALTHY_LOSS`.
    """
    low, high = HEALTHY_LOSS
    healthy = 0
    for health in (result["health"] for result in finished(results)):
        checked = [x for name, x in health.items() if name.startswith(("loss/", "gradient_norm/"))]
        loss = health.get(DISCRIMINATOR_LOSS)
        healthy += None not in checked and loss is not None and low <= loss <= high
    return healthy, sum(map(has_ended, results))
