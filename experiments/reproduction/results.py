"""The result of a cell, which is one file, and the mean over several seeds."""

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

FILE = "result.json"
FOLDER = "cells"
METRICS = "metrics.jsonl"
DISCRIMINATOR_LOSS = "loss/discriminator"
# A rule of thumb of AdvSemiSeg's author, for a D that judges pixels. Below 0.2 D has won and
# teaches little; a D that cannot tell real from fake has a loss of log 2 = 0.69.
HEALTHY_LOSS = (0.2, 0.5)
DIVERGED = "TrainingError"  # kind of the error of a loss that is not finite


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


def has_diverged(result: dict[str, Any]) -> bool:
    """Returns whether a loss of the run was not finite."""
    return result.get("error_kind") == DIVERGED


def has_ended(result: dict[str, Any] | None) -> bool:
    """Returns whether a cell need not be run again: it has scores, or would diverge again."""
    return result is not None and (is_finished(result) or has_diverged(result))


def read_seeds(workdir: Path, cell: Cell) -> list[dict[str, Any]]:
    """Returns the results of all seeds of a cell, failed ones included."""
    found = []
    pattern = dataclasses.replace(cell, seed=0).name.removesuffix("0") + "*"
    for folder in sorted((workdir / FOLDER).glob(pattern)):
        seed = folder.name[len(pattern) - 1 :]
        if seed.isdecimal() and (result := read(folder)) is not None:
            found.append((int(seed), result))
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def finished(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the results that have scores."""
    return [result for result in results if is_finished(result)]


def last_health(workdir: Path) -> dict[str, float | None]:
    """Returns the last value of each metric of the training; None if it is not finite.

    Skips lines that were cut short, as by a full disk.
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
    checked = (health[name] for name in health if name.startswith(("loss/", "gradient_norm/")))
    low, high = HEALTHY_LOSS
    loss = health.get(DISCRIMINATOR_LOSS)
    return None not in checked and loss is not None and low <= loss <= high


def count_healthy(results: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Returns how many runs ended well, and how many finished or diverged."""
    runs = [result for result in results if has_ended(result)]
    return sum(map(is_healthy, runs)), len(runs)
