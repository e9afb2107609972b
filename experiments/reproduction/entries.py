"""The entries of a table: what all seeds of a row and a column come to, beside the paper's number.

mIoU in percent, as the paper has it; IoU of a class as a fraction of 1.
"""

import csv
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
from sassn_jax.files import replacing

HEADINGS = (
    "dataset",
    "row",
    "method",
    "head",
    "labels",
    "discriminator_lr_multiple",
    "class",
    "runs",
    "mean",
    "spread",
    "paper",
    "difference",
    "less_baseline",
    "less_baseline_spread",
    "val_mean",
    "diverged",
    "failed",
    "steps",
    "minutes_a_run",
    "hardware",
    "weights",
    "discriminator_loss",
    "discriminator_loss_spread",
    "share_healthy",
)
OF_A_RUN = (
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
      runs: results of all seeds that are there.
      baseline: those of the row that others are compared with, seed by seed.
      paper: the paper's mIoU, or a word in its place; None where it has none.
      paper_classes: the paper's IoU of each class, in the order of their ids; empty where it has
        none.
    """

    row: Row
    column: Column
    runs: Sequence[dict[str, Any]]
    baseline: Sequence[dict[str, Any]] = ()
    paper: float | str | None = None
    paper_classes: tuple[float, ...] = ()

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Runs that have scores."""
        return results.finished(self.runs)

    @property
    def diverged(self) -> list[str]:
        """Cells of which a loss was not finite. They have no scores, and no part in any mean."""
        return [run["cell"] for run in self.runs if results.has_diverged(run)]

    @property
    def errors(self) -> dict[str, str]:
        """Why the other runs have no scores, by cell."""
        return {run["cell"]: run["error"] for run in self.runs if not results.has_ended(run)}

    @property
    def miou(self) -> Summary:
        """In percent."""
        return summarize(_percent(run["miou"]) for run in self.finished)

    @property
    def val_miou(self) -> Summary:
        """On the validation split, in percent."""
        return summarize(_percent(run.get("val_miou")) for run in self.finished)

    @property
    def less_baseline(self) -> Summary:
        """Points of mIoU above the baseline of the same seed, whose labels are the same."""
        beside = {run["seed"]: run["miou"] for run in results.finished(self.baseline)}
        pairs = [(run["miou"], beside.get(run["seed"])) for run in self.finished]
        return summarize(
            100 * (ours - theirs) for ours, theirs in pairs if None not in (ours, theirs)
        )

    @property
    def difference(self) -> float:
        """Ours less the paper's in points of mIoU, NaN where one is not there."""
        return self.miou.mean - self.paper if isinstance(self.paper, float) else math.nan

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
        """The mean over the runs that were done in one call, NaN where none was."""
        return summarize(run["seconds"] / 60 for run in self.finished if not run["resumed_at"]).mean

    @property
    def steps(self) -> str:
        """Of the runs; several numbers where they differ."""
        return ", ".join(map(str, sorted({run["step"] for run in self.finished})))

    @property
    def hardware(self) -> str:
        """Kind of device, with how many shared a run; several where runs differ."""
        kinds = {
            f"{run['devices']} x {run['device']}" if run["devices"] > 1 else run["device"]
            for run in self.finished
        }
        return ", ".join(sorted(kinds))

    @property
    def weights(self) -> str:
        """Name of the file that the runs started from, or `random`; several where runs differ."""
        return ", ".join(sorted({run.get("weights", "unknown") for run in self.finished}))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def gather(workdir: Path, table: Table, dataset: str) -> list[Entry]:
    """Returns all entries of a table in the order of its rows and columns."""
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
    """Writes a line for each entry and, where wanted, for each of its classes."""
    lines: list[dict[str, Any]] = []
    for entry in entries:
        about = _about(dataset, entry)
        lines.append(
            about
            | {"class": MIOU, "paper": entry.paper, "difference": _known(entry.difference)}
            | _statistics(entry.miou)
        )
        if per_class:
            lines.extend(about | line for line in _class_lines(entry))
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADINGS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def write_runs(path: Path, entries: Sequence[Entry]) -> None:
    """Writes a line for each run: its scores, and the last value of each metric of its training."""
    runs = [run for entry in entries for run in entry.runs]
    metrics = sorted({name for run in runs for name in run.get("health", ())} - set(OF_A_RUN))
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, (*OF_A_RUN, *metrics), extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(run.get("health", {}) | run for run in runs)


def class_names(entries: Sequence[Entry]) -> list[str]:
    """Returns the classes of a table: those of its runs, or of the paper's where none is there."""
    for entry in entries:
        if entry.finished:
            return list(entry.classes)
    return list(CLASS_NAMES) if any(entry.paper_classes for entry in entries) else []


def _about(dataset: str, entry: Entry) -> dict[str, Any]:
    loss, less = entry.discriminator_loss, entry.less_baseline
    healthy, total = results.count_healthy(entry.runs)
    return {
        "dataset": dataset,
        "row": entry.row.title,
        "method": entry.row.method,
        "head": entry.row.head,
        "labels": entry.column.labels,
        "discriminator_lr_multiple": entry.column.discriminator_lr_multiple,
        "less_baseline": _known(less.mean),
        "less_baseline_spread": _known(less.spread),
        "val_mean": _known(entry.val_miou.mean),
        "diverged": len(entry.diverged),
        "failed": len(entry.errors),
        "steps": entry.steps,
        "minutes_a_run": _known(entry.minutes),
        "hardware": entry.hardware,
        "weights": entry.weights,
        "discriminator_loss": _known(loss.mean),
        "discriminator_loss_spread": _known(loss.spread),
        "share_healthy": _known(healthy / total) if loss.count or entry.diverged else "",
    }


def _class_lines(entry: Entry) -> list[dict[str, Any]]:
    """What the paper prints is there also where ours is not."""
    names = class_names([entry])
    classes = entry.classes or dict.fromkeys(names, summarize(()))
    printed = entry.paper_classes or (None,) * len(names)
    return [
        {"class": name, "paper": theirs, "difference": _known(class_difference(ours, theirs))}
        | _statistics(ours)
        for (name, ours), theirs in zip(classes.items(), printed, strict=True)
    ]


def class_difference(ours: Summary, printed: float | None) -> float:
    """Returns ours less the paper's IoU of a class, NaN where one is not there."""
    return math.nan if printed is None else ours.mean - printed


def _statistics(summary: Summary) -> dict[str, Any]:
    return {
        "runs": summary.count,
        "mean": _known(summary.mean),
        "spread": _known(summary.spread),
    }


def _known(value: float) -> float | str:
    """A number for a table of numbers, in which what is undefined is empty."""
    return round(value, 6) if math.isfinite(value) else ""
