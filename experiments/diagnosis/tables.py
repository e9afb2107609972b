"""The tables of a diagnosis, for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.diagnosis import runs
from experiments.diagnosis.shares import EDGES
from experiments.diagnosis.verdicts import three_of


def show(result: Mapping[str, Any], console: Console) -> None:
    """Prints what `diagnosis.json` holds: tables, what the runs are, and a line a finding."""
    for table in _tables(result):
        console.print(table)
    for name, title in runs.TITLES.items():
        console.print(f"{name}: {title}")
    console.print()
    for verdict in result["verdicts"]:
        console.print(f"- {verdict}")


def _tables(result: Mapping[str, Any]) -> Iterator[Table]:
    yield _scores(result["scores"], result["gap_closed"])
    if rows := three_of(result["over_time"]):
        yield _classes(rows)
        yield _trust(rows[-1], "D's confidence" if "discriminator" in result else "probability")
    for name, title in (
        ("average_and_raw", "mIoU on val: averaged weights, and raw ones"),
        ("discriminator", "D's loss, by what it is shown (0.69 is guessing)"),
        ("gradient_norms", "norm of the gradient, by term"),
    ):
        if result.get(name):
            yield _values(title, result[name])


def _scores(scores: Mapping[str, Any], closed: Mapping[str, float]) -> Table:
    table = Table("", *scores, title="validation split: mIoU, and IoU by class")
    table.add_row("mIoU", *(_cell(run["miou"]) for run in scores.values()))
    if closed:
        table.add_row("gap closed", *(f"{share:.0%}" for share in closed.values()))
    for name in next(iter(scores.values()))["iou"]:
        table.add_row(name, *(_cell(run["iou"][name]) for run in scores.values()))
    return table


def _classes(rows: list[dict[str, Any]]) -> Table:
    steps = ", ".join(str(row["step"]) for row in rows)
    table = Table(
        "class",
        "pixels that teach",
        "of these right",
        "recall",
        "predicted",
        "true",
        title=f"unlabelled images, about steps {steps}: shares in percent",
    )
    for name in rows[-1]["classes"]:
        of_class = [row["classes"][name] for row in rows]
        columns = (
            " ".join(_percent(values[column]) for values in of_class)
            for column in ("teaches", "right", "recall", "predicted")
        )
        table.add_row(name, *columns, _percent(of_class[-1]["true"]))
    return table


def _trust(row: dict[str, Any], trusted: str) -> Table:
    table = Table(
        trusted, "pixels", "of these right", title=f"unlabelled images, about step {row['step']}"
    )
    for one, end in zip(row["trust"], (*EDGES[1:], 1.0), strict=True):
        table.add_row(f"{one['from']} to {end}", _cell(one["share"]), _cell(one["right"]))
    return table


def _values(title: str, values: Mapping[str, float]) -> Table:
    table = Table("", "", title=title, show_header=False)
    for name, value in values.items():
        table.add_row(name, f"{value:.3g}")
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.{0 if share >= 0.1 else 1}f}"
