"""The entries of a table: the mean of all seeds of a row and a column, beside the paper's number.

mIoU is in percent, as in the paper; IoU of a class a fraction of 1.
"""

import dataclasses
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
        """Names of the cells in which a loss was not finite. No mean includes them."""
        return [run["cell"] for run in self.runs if results.has_diverged(run)]

    @property
    def errors(self) -> dict[str, str]:
        """Why the other cells without scores failed, by name."""
        return {run["cell"]: run["error"] for run in self.runs if not results.has_ended(run)}

    @property
    def miou(self) -> Summary:
        """On the split that is scored, in percent."""
        return self._percent("miou")

    @property
    def val_miou(self) -> Summary:
        """On the validation split, in percent."""
        return self._percent("val_miou")

    def _percent(self, name: str) -> Summary:
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
        """IoU of each class."""
        runs = self.finished
        names = runs[0]["iou"] if runs else ()
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
    def steps(self) -> str:
        """Steps of the runs; several numbers if runs differ."""
        return ", ".join(map(str, sorted({run["step"] for run in self.finished})))

    @property
    def hardware(self) -> str:
        """Number and kind of the devices of a run; several if runs differ."""
        kinds = {
            f"{run['devices']} x {run['device']}" if run["devices"] > 1 else run["device"]
            for run in self.finished
        }
        return ", ".join(sorted(kinds))

    @property
    def weights(self) -> str:
        """Name of the file that the runs started from, or `random`; several if runs differ."""
        return ", ".join(sorted({run.get("weights", "unknown") for run in self.finished}))


def gather(workdir: Path, table: Table, dataset: str) -> list[Entry]:
    """Returns the entries of a table, row by row."""
    compared = table.is_papers(dataset)
    entries = []
    for row in table.rows:
        for column in table.columns:
            runs = results.read_seeds(workdir, table.cell(dataset, row, column, 0))
            number = row.paper.get(column.labels) if compared else None
            by_method = paper.PER_CLASS.get(column.labels, {}) if table.name == "3" else {}
            classes = by_method.get(row.method, ()) if compared else ()
            baseline: Sequence[dict[str, Any]] = ()
            if table.baseline and row.method != table.baseline:
                beside = dataclasses.replace(row, method=table.baseline)
                baseline = results.read_seeds(workdir, table.cell(dataset, beside, column, 0))
            entries.append(Entry(row, column, runs, baseline, number, classes))
    return entries


def write_csv(path: Path, dataset: str, entries: Sequence[Entry], *, per_class: bool) -> None:
    """Writes a line for each entry and, if wanted, for each of its classes."""
    lines: list[dict[str, Any]] = []
    for entry in entries:
        lines.append(_line(dataset, entry, MIOU, entry.miou, entry.paper))
        if per_class:
            names = class_names([entry])
            # The paper's numbers are written also where there are none of ours.
            classes = entry.classes or dict.fromkeys(names, summarize(()))
            printed = entry.paper_classes or (None,) * len(names)
            lines += [
                _line(dataset, entry, name, ours, theirs)
                for (name, ours), theirs in zip(classes.items(), printed, strict=True)
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
    for entry in entries:
        if entry.finished:
            return list(entry.classes)
    return list(CLASS_NAMES) if any(entry.paper_classes for entry in entries) else []


def less_printed(ours: Summary, printed: float | str | None) -> float:
    """Returns our mean less the paper's number, NaN if either is missing."""
    return ours.mean - printed if isinstance(printed, float) else math.nan


def _line(
    dataset: str, entry: Entry, name: str, ours: Summary, printed: float | str | None
) -> dict[str, Any]:
    """The line of the mIoU or of one class."""
    loss, less = entry.discriminator_loss, entry.less_baseline
    healthy, total = results.count_healthy(entry.runs)
    line = {
        "dataset": dataset,
        "row": entry.row.title,
        "method": entry.row.method,
        "head": entry.row.head,
        "labels": entry.column.labels,
        "discriminator_lr_multiple": entry.column.discriminator_lr_multiple,
        "class": name,
        "runs": ours.count,
        "mean": ours.mean,
        "spread": ours.spread,
        "paper": printed,
        "difference": less_printed(ours, printed),
        "less_baseline": less.mean,
        "less_baseline_spread": less.spread,
        "val_mean": entry.val_miou.mean,
        "diverged": len(entry.diverged),
        "failed": len(entry.errors),
        "steps": entry.steps,
        "minutes_a_run": entry.minutes,
        "hardware": entry.hardware,
        "weights": entry.weights,
        "discriminator_loss": loss.mean,
        "discriminator_loss_spread": loss.spread,
        "share_healthy": healthy / total if loss.count or entry.diverged else None,
    }
    return {key: _rounded(value) for key, value in line.items()}


def _rounded(value: Any) -> Any:
    """Rounds a number; NaN becomes empty."""
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else ""
