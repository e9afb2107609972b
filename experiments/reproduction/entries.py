"""The entries of a table: the mean of all seeds of a row and a column, beside the paper's number.

mIoU is in percent, as in the paper; IoU of a class a fraction of 1.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import paper_tables as paper
from experiments.reproduction import results
from experiments.reproduction.results import Summary, summarize
from experiments.reproduction.tables import Column, Row, Table
from sassn_jax.data.voc2012_aug import CLASS_NAMES

OF_A_RUN = (  # columns of the file of runs, before those of the metrics
    "cell",
    "method",
    "head",
    "labels",
    "seed",
    "discriminator_lr_multiple",
    "miou",
    "val_miou",
    "pixel_accuracy",
    "step",
    "seconds",
    "weights",
    "error_kind",
    "error",
)
MIOU = "mIoU"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of a table in one of its columns.

    Attributes:
      row: of the table.
      column: of the table.
      runs: results of all seeds that there are.
      baseline: results of the row that the others are compared with, seed by seed.
      paper: the paper's mIoU, or the word that it prints instead; None if it has neither.
      paper_classes: the paper's IoU of each class, in the order of their ids; may be empty.
    """

    row: Row
    column: Column
    runs: Sequence[dict[str, Any]]
    baseline: Sequence[dict[str, Any]] = ()
    paper: float | str | None = None
    paper_classes: tuple[float, ...] = ()

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The runs that have scores."""
        return results.finished(self.runs)

    @property
    def diverged(self) -> list[str]:
        """Names of the cells that numbers which are not finite stopped. No mean includes them."""
        return [run["cell"] for run in self.runs if run.get("error_kind") == results.DIVERGED]

    @property
    def errors(self) -> dict[str, str]:
        """Why the other cells without scores failed, by name."""
        return {run["cell"]: run["error"] for run in self.runs if not results.has_ended(run)}

    @property
    def miou(self) -> Summary:
        """On the split that is scored, in percent."""
        return self.percent("miou")

    def percent(self, name: str) -> Summary:
        """Returns `miou` or `val_miou` in percent."""
        values = (run.get(name) for run in self.finished)
        return summarize(100 * value for value in values if value is not None)

    @property
    def less_baseline(self) -> Summary:
        """Points of mIoU above the baseline's run of the same seed, which has the same labels."""
        beside = {run["seed"]: run["miou"] for run in results.finished(self.baseline)}
        pairs = [(run["miou"], beside.get(run["seed"])) for run in self.finished]
        return summarize(
            100 * (ours - theirs) for ours, theirs in pairs if None not in (ours, theirs)
        )

    @property
    def classes(self) -> dict[str, Summary]:
        """IoU of each class; without runs, of each class that the paper has a number of."""
        runs, printed = self.finished, CLASS_NAMES if self.paper_classes else ()
        names = runs[0]["iou"] if runs else printed
        return {name: summarize(run["iou"].get(name) for run in runs) for name in names}

    @property
    def discriminator_loss(self) -> Summary:
        """D's loss at the end of each run."""
        return summarize(run["health"].get(results.DISCRIMINATOR_LOSS) for run in self.finished)

    @property
    def minutes(self) -> float:
        """Mean time of the runs that were not resumed, NaN if all were."""
        return summarize(run["seconds"] / 60 for run in self.finished if not run["resumed_at"]).mean

    @property
    def about(self) -> dict[str, str]:
        """Steps, hardware, and weights at the start; each with several values if runs differ."""
        found = {
            "steps": {run["step"] for run in self.finished},
            "hardware": {
                f"{run['devices']} x {run['device']}" if run["devices"] > 1 else run["device"]
                for run in self.finished
            },
            "weights": {run.get("weights", "unknown") for run in self.finished},
        }
        return {name: ", ".join(map(str, sorted(values))) for name, values in found.items()}


def gather(workdir: Path, table: Table, dataset: str) -> list[Entry]:
    """Returns the entries of a table, row by row."""
    compared = table.is_papers(dataset)
    per_class = paper.PER_CLASS if compared and table.name == "3" else {}
    entries = []
    for row, column in itertools.product(table.rows, table.columns):
        cell = table.cell(dataset, row, column, 0)
        beside = dataclasses.replace(cell, method=table.baseline or cell.method)
        entries.append(
            Entry(
                row,
                column,
                results.read_seeds(workdir, cell),
                results.read_seeds(workdir, beside) if beside != cell else (),
                row.paper.get(column.labels) if compared else None,
                per_class.get(column.labels, {}).get(row.method, ()),
            )
        )
    return entries


def write_csv(path: Path, dataset: str, entries: Sequence[Entry], *, per_class: bool) -> None:
    """Writes a line for each entry and, if wanted, for each of its classes."""
    lines: list[dict[str, Any]] = []
    for entry in entries:
        lines.append(_line(dataset, entry, MIOU, entry.miou, entry.paper))
        if per_class:
            printed = entry.paper_classes or (None,) * len(entry.classes)
            lines += [
                _line(dataset, entry, name, ours, theirs)
                for (name, ours), theirs in zip(entry.classes.items(), printed, strict=True)
            ]
    results.write_csv(path, lines[0], lines)


def write_runs(path: Path, entries: Sequence[Entry]) -> None:
    """Writes a line for each run: its scores, and the last value of each metric of its training."""
    runs = [run for entry in entries for run in entry.runs]
    metrics = sorted({name for run in runs for name in run.get("health", ())} - set(OF_A_RUN))
    lines = [run.get("health", {}) | run for run in runs]
    results.write_csv(path, (*OF_A_RUN, *metrics), lines)


def class_names(entries: Sequence[Entry]) -> list[str]:
    """Returns the names of the classes of the runs, or of the paper's if there are no runs."""
    runs_first = sorted(entries, key=lambda entry: not entry.finished)
    return next((list(entry.classes) for entry in runs_first if entry.classes), [])


def less_printed(ours: Summary, printed: float | str | None) -> float:
    """Returns our mean less the paper's number, NaN if either is missing."""
    return ours.mean - printed if isinstance(printed, float) else math.nan


def _line(
    dataset: str, entry: Entry, name: str, ours: Summary, printed: float | str | None
) -> dict[str, Any]:
    """The line of the mIoU or of one class."""
    loss, less = entry.discriminator_loss, entry.less_baseline
    healthy, total = results.count_healthy(entry.runs)
    about = entry.about
    line = {
        "dataset": dataset,
        "row": entry.row.title,
        "method": entry.row.method,
        "head": entry.row.head,
        "labels": entry.column.labels,
        "discriminator_lr_multiple": entry.column.multiple,
        "class": name,
        "runs": ours.count,
        "mean": ours.mean,
        "spread": ours.spread,
        "paper": printed,
        "difference": less_printed(ours, printed),
        "less_baseline": less.mean,
        "less_baseline_spread": less.spread,
        "val_mean": entry.percent("val_miou").mean,
        "diverged": len(entry.diverged),
        "failed": len(entry.errors),
        "steps": about["steps"],
        "minutes_a_run": entry.minutes,
        "hardware": about["hardware"],
        "weights": about["weights"],
        "discriminator_loss": loss.mean,
        "discriminator_loss_spread": loss.spread,
        "share_healthy": healthy / total if loss.count or entry.diverged else None,
    }
    numbers = {key: x for key, x in line.items() if isinstance(x, float)}
    return line | {key: round(x, 6) if math.isfinite(x) else "" for key, x in numbers.items()}
