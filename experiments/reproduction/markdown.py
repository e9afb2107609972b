"""A table as text, laid out as the paper has it."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from experiments.paper_tables import Note
from experiments.reproduction import results
from experiments.reproduction.entries import (
    MIOU,
    Entry,
    Summary,
    class_difference,
    class_names,
)
from experiments.reproduction.tables import Table

NOT_RUN = "-"  # what a table has no cell for; one that has not been run yet is empty
ABOUT = ("steps", "minutes a run", "hardware", "weights")


def write_table(table: Table, dataset: str, entries: Sequence[Entry]) -> str:
    """Returns a table of the paper, or that of D's learning rates."""
    compared = table.is_papers(dataset)
    notes = table.notes
    if not compared:
        table = dataclasses.replace(table, notes=())
    split = next((run["split"] for entry in entries for run in entry.finished), "")
    parts = [f"# {table.title}: {dataset}{f', split {split}' if split else ''}"]
    if table.name == "3":
        parts += [
            "IoU, mean ± sample standard deviation over seeds; mIoU in percent.",
            *_class_grids(table, entries),
        ]
    elif table.name == "stability":
        low, high = results.HEALTHY_LOSS
        parts += [
            "Columns are D's learning rate in units of the recipe's; mean ± sample standard "
            "deviation (runs) of those that did not diverge.",
            "## mIoU, percent",
            _grid(table, entries, _ours),
            "## D's loss at the end, a mean over the last `log_every` steps",
            _grid(table, entries, lambda entry: spread(entry.discriminator_loss, 3), runs=False),
            "## Runs that end healthy",
            f"Finite, and D's loss from {low} to {high}, where AdvSemiSeg's author says that it "
            "should be: below, D has won; at log 2 = 0.69 it cannot tell.",
            _grid(table, entries, _healthy, runs=False),
        ]
    else:
        parts += [
            "mIoU in percent: mean ± sample standard deviation (runs)"
            + ("; the paper's number, and what this is above it." if compared else "."),
            _grid(table, entries, lambda entry: _compared(entry, _digits(table))),
        ]
        if any(entry.less_baseline.count for entry in entries):
            parts += [
                f"## Less `{table.baseline}`",
                "Mean ± sample standard deviation (pairs) of the differences between runs of one "
                "seed, which have the same labelled images, and one head.",
                _grid(table, entries, lambda entry: signed(entry.less_baseline), runs=False),
            ]
    parts += recipes(entries) + failures(entries)
    parts += [f"[{i}] {note.text}" for i, note in enumerate(_of_methods(table), 1)]
    parts += [note.text for note in table.notes if not note.method]
    if notes and not compared:
        parts.append("Not the data of the paper, whose numbers would say nothing here.")
    return "\n\n".join(parts) + "\n"


def spread(summary: Summary, digits: int) -> str:
    """Returns `71.2 ± 0.4 (3)`, without the spread of a single run; empty where there is none."""
    if not summary.count:
        return ""
    around = f" ± {summary.spread:.{digits}f}" if summary.count > 1 else ""
    return f"{summary.mean:.{digits}f}{around} ({summary.count})"


def signed(summary: Summary) -> str:
    """Returns `+1.20 ± 0.40 (3)` of differences."""
    return f"{'+' if summary.mean >= 0 else ''}{spread(summary, 2)}" if summary.count else ""


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of Markdown, all but its first column to the right."""
    marks = [":--", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows))


def recipes(entries: Sequence[Entry]) -> list[str]:
    """Returns a line for each recipe, with its cells, unless all are of the config's own."""
    cells: dict[str, list[str]] = {}
    for entry in entries:
        for run in filter(results.has_ended, entry.runs):
            changes = ", ".join(
                f"{field}={value}" for field, value in run.get("changes", {}).items()
            )
            cells.setdefault(changes, []).append(run["cell"])
    if len(cells) == 1:
        return [f"All with {changes}." for changes in cells if changes]
    return [
        f"With {changes or 'what the config has'}: {', '.join(names)}"
        for changes, names in cells.items()
    ]


def failures(entries: Sequence[Entry]) -> list[str]:
    """Returns a line for the cells that diverged, and for each reason why others failed."""
    diverged = [name for entry in entries for name in entry.diverged]
    lines = [f"Diverged: {', '.join(diverged)}"] if diverged else []
    cells: dict[str, list[str]] = {}
    for entry in entries:
        for name, reason in entry.errors.items():
            cells.setdefault(reason, []).append(name)
    return lines + [f"Failed: {', '.join(names)}: {reason}" for reason, names in cells.items()]


def _digits(table: Table) -> int:
    """Decimal places of the paper's mIoU."""
    return 2 if table.name == "5" else 1


def _grid(
    table: Table, entries: Sequence[Entry], show: Callable[[Entry], str], *, runs: bool = True
) -> str:
    """What is to be shown of each entry; and of the runs of a row, unless another grid has it."""
    headings = [column.title for column in table.columns]
    if table.name == "stability":
        headings = [f"{column.discriminator_lr_multiple} x" for column in table.columns]
    rows = []
    for row in table.rows:
        own = [entry for entry in entries if entry.row == row]
        cells = [
            show(entry) + _mark(table, entry) if table.has(row, entry.column) else NOT_RUN
            for entry in own
        ]
        of_runs = about(own) if runs else []
        title = f"{row.title} `{row.method}`{_row_mark(table, row.method)}"
        rows.append([title, *cells, *of_runs])
    return grid(["", *headings, *(ABOUT if runs else ())], rows)


def about(entries: Sequence[Entry]) -> list[str]:
    """Returns what `ABOUT` names: steps, mean time, hardware and weights of a row's runs."""
    minutes = [f"{entry.minutes:.1f}" for entry in entries if math.isfinite(entry.minutes)]

    def unique(texts: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(filter(None, texts)))

    shown = minutes[0] if len(set(minutes)) == 1 else " / ".join(minutes)
    return [
        unique(entry.steps for entry in entries),
        shown,
        unique(entry.hardware for entry in entries),
        unique(entry.weights for entry in entries),
    ]


def _ours(entry: Entry) -> str:
    diverged = f"{len(entry.diverged)} diverged" if entry.diverged else ""
    failed = f"{len(entry.errors)} failed" if entry.errors else ""
    return ", ".join(filter(None, [spread(entry.miou, 2), diverged, failed]))


def _compared(entry: Entry, digits: int) -> str:
    parts = [_ours(entry)]
    if isinstance(entry.paper, float):
        difference = entry.difference
        beside = f" ({difference:+.2f})" if math.isfinite(difference) else ""
        parts.append(f"paper {entry.paper:.{digits}f}{beside}")
    elif entry.paper:
        parts.append(f"paper {entry.paper}")
    return "; ".join(filter(None, parts))


def _healthy(entry: Entry) -> str:
    healthy, total = results.count_healthy(entry.runs)
    return f"{healthy} of {total}" if total else ""


def _class_grids(table: Table, entries: Sequence[Entry]) -> list[str]:
    names = class_names(entries)
    parts = []
    for column in table.columns:
        own = [entry for entry in entries if entry.column == column]
        lines = []
        for entry in own:
            lines += _class_lines(table, entry, names)
        parts += [f"## {column.title}", grid(["", *names, MIOU, *ABOUT], lines)]
    return parts


def _class_lines(table: Table, entry: Entry, names: Sequence[str]) -> list[list[str]]:
    """Ours, the paper's, and the difference."""
    title = entry.row.title
    ours = [spread(entry.classes[name], 2) if entry.finished else "" for name in names]
    lines = [[title, *ours, _ours(entry), *about([entry])]]
    if entry.paper_classes:
        nothing = [""] * len(ABOUT)
        printed = [f"{value:.2f}" for value in entry.paper_classes]
        mark = _mark(table, entry)
        lines.append([f"{title}, paper{mark}", *printed, f"{entry.paper:.1f}", *nothing])
        if entry.finished:
            pairs = zip(entry.classes.values(), entry.paper_classes, strict=True)
            differences = [f"{class_difference(*pair):+.2f}" for pair in pairs]
            lines.append(
                [f"{title}, difference", *differences, f"{entry.difference:+.2f}", *nothing]
            )
    return lines


def _of_methods(table: Table) -> list[Note]:
    """The notes that have a number, by which entries and rows refer to them."""
    return [note for note in table.notes if note.method]


def _mark(table: Table, entry: Entry) -> str:
    """The numbers of the notes on an entry, where the paper's number is shown."""
    where = (entry.row.method, entry.column.labels)
    numbers = [
        i for i, note in enumerate(_of_methods(table), 1) if (note.method, note.labels) == where
    ]
    return "".join(f" [{i}]" for i in numbers) if entry.paper else ""


def _row_mark(table: Table, method: str) -> str:
    numbers = [
        i
        for i, note in enumerate(_of_methods(table), 1)
        if note.method == method and not note.labels
    ]
    return "".join(f" [{i}]" for i in numbers)
