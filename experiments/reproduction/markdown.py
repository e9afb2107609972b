"""A table in Markdown, laid out as in the paper."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence

from experiments.paper_tables import Note
from experiments.reproduction import results
from experiments.reproduction.entries import MIOU, Entry, Summary, class_names, less_printed
from experiments.reproduction.tables import CLAIMS, Table

NOT_RUN = "-"  # where a table has no cell; a cell that has not been run yet is empty
ABOUT = ("steps", "minutes a run", "hardware", "weights")


def write_table(table: Table, dataset: str, entries: Sequence[Entry]) -> str:
    """Returns a table of the paper, or that of D's learning rates."""
    compared = table.is_papers(dataset)
    notes = table.notes(dataset)
    numbered = [note for note in notes if note.method]
    shown = functools.partial(_grid, table, entries, numbered)
    split = next((run["split"] for entry in entries for run in entry.finished), "")
    parts = [f"# {table.title}: {dataset}{f', split {split}' if split else ''}"]
    if table.name == "3":
        parts += [
            "IoU, mean ± sample standard deviation over seeds; mIoU in percent.",
            *_class_grids(table, entries, numbered),
        ]
    elif table.name == "stability":
        low, high = results.HEALTHY_LOSS
        parts += [
            "Columns are D's learning rate in units of the recipe's; mean ± sample standard "
            "deviation (runs) of those that did not diverge.",
            "## mIoU, percent",
            shown(_ours, runs=True),
            "## D's loss at the end, a mean over the steps of the last line of `metrics.jsonl`",
            shown(lambda entry: spread(entry.discriminator_loss, 3)),
            "## Runs that end healthy",
            f"Finite, and D's loss from {low} to {high}, as AdvSemiSeg's author advises: below, D "
            "has won; at log 2 = 0.69 it cannot tell real from fake.",
            shown(_healthy),
        ]
    else:
        digits = 2 if table.name == "5" else 1
        parts += [
            "mIoU in percent: mean ± sample standard deviation (runs)"
            + ("; the paper's number (ours less the paper's)." if compared else "."),
            shown(lambda entry: _compared(entry, digits), runs=True),
        ]
        if any(entry.less_baseline.count for entry in entries):
            parts += [
                f"## Less `{table.baseline}`",
                "Mean ± sample standard deviation (pairs) of the differences between two runs with "
                "the same seed, labelled images and head.",
                shown(lambda entry: _signed(entry.less_baseline)),
            ]
    parts += recipes(entries) + failures(entries)
    parts += [f"[{i}] {note.text}" for i, note in enumerate(numbered, 1)]
    parts += [note.text for note in notes if not note.method]
    if not compared and table.name not in CLAIMS:
        parts.append("The paper's numbers are of other data, and so are not shown.")
    return "\n\n".join(parts) + "\n"


def spread(summary: Summary, digits: int) -> str:
    """Returns `71.2 ± 0.4 (3)`; a single run has no spread, no runs give nothing."""
    if not summary.count:
        return ""
    around = f" ± {summary.spread:.{digits}f}" if summary.count > 1 else ""
    return f"{summary.mean:.{digits}f}{around} ({summary.count})"


def _signed(summary: Summary) -> str:
    """Returns `+1.20 ± 0.40 (3)`, for differences."""
    return f"{'+' if summary.mean >= 0 else ''}{spread(summary, 2)}" if summary.count else ""


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown. All columns but the first are aligned to the right."""
    marks = [":--", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows))


def recipes(entries: Sequence[Entry]) -> list[str]:
    """Returns a line for each set of `--set` values, with its cells; none if there is no value."""
    cells: dict[str, list[str]] = {}
    for entry in entries:
        for run in filter(results.has_ended, entry.runs):
            pairs = run.get("changes", {}).items()
            changes = ", ".join(f"{field}={value}" for field, value in pairs)
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


def _grid(
    table: Table,
    entries: Sequence[Entry],
    numbered: Sequence[Note],
    show: Callable[[Entry], str],
    *,
    runs: bool = False,
) -> str:
    """A table of `show(entry)`; `runs` says whether to add the columns of `ABOUT`."""
    headings = [column.title for column in table.columns]
    if table.name == "stability":
        headings = [f"{column.multiple} x" for column in table.columns]
    rows = []
    for row in table.rows:
        own = [entry for entry in entries if entry.row == row]
        cells = []
        for entry in own:
            mark = _marks(numbered, row.method, entry.column.labels) if entry.paper else ""
            cells.append(show(entry) + mark if table.has(row, entry.column) else NOT_RUN)
        title = f"{row.title} `{row.method}`{_marks(numbered, row.method)}"
        rows.append([title, *cells, *(about(own) if runs else [])])
    return grid(["", *headings, *(ABOUT if runs else ())], rows)


def about(entries: Sequence[Entry]) -> list[str]:
    """Returns steps, mean time, hardware and weights of a row's runs: the columns of `ABOUT`."""
    minutes = [f"{entry.minutes:.1f}" for entry in entries if math.isfinite(entry.minutes)]
    shown = minutes[0] if len(set(minutes)) == 1 else " / ".join(minutes)
    steps, hardware, weights = (
        ", ".join(dict.fromkeys(filter(None, (entry.about[name] for entry in entries))))
        for name in ("steps", "hardware", "weights")
    )
    return [steps, shown, hardware, weights]


def _ours(entry: Entry) -> str:
    diverged = f"{len(entry.diverged)} diverged" if entry.diverged else ""
    failed = f"{len(entry.errors)} failed" if entry.errors else ""
    return ", ".join(filter(None, [spread(entry.miou, 2), diverged, failed]))


def _compared(entry: Entry, digits: int) -> str:
    parts = [_ours(entry)]
    if isinstance(entry.paper, float):
        difference = less_printed(entry.miou, entry.paper)
        beside = f" ({difference:+.2f})" if math.isfinite(difference) else ""
        parts.append(f"paper {entry.paper:.{digits}f}{beside}")
    elif entry.paper:
        parts.append(f"paper {entry.paper}")
    return "; ".join(filter(None, parts))


def _healthy(entry: Entry) -> str:
    healthy, total = results.count_healthy(entry.runs)
    return f"{healthy} of {total}" if total else ""


def _class_grids(table: Table, entries: Sequence[Entry], numbered: Sequence[Note]) -> list[str]:
    names = class_names(entries)
    parts = []
    for column in table.columns:
        lines = []
        for entry in (entry for entry in entries if entry.column == column):
            mark = _marks(numbered, entry.row.method, column.labels)
            lines += _class_lines(entry, names, mark)
        parts += [f"## {column.title}", grid(["", *names, MIOU, *ABOUT], lines)]
    return parts


def _class_lines(entry: Entry, names: Sequence[str], mark: str) -> list[list[str]]:
    """A line of our IoU, one of the paper's, and one of the difference."""
    title, classes = entry.row.title, entry.classes
    ours = [spread(classes[name], 2) if name in classes else "" for name in names]
    lines = [[title, *ours, _ours(entry), *about([entry])]]
    if entry.paper_classes:
        nothing = [""] * len(ABOUT)
        printed = [f"{value:.2f}" for value in entry.paper_classes]
        lines.append([f"{title}, paper{mark}", *printed, f"{entry.paper:.1f}", *nothing])
        if entry.finished:
            pairs = zip(entry.classes.values(), entry.paper_classes, strict=True)
            differences = [f"{less_printed(*pair):+.2f}" for pair in pairs]
            of_miou = f"{less_printed(entry.miou, entry.paper):+.2f}"
            lines.append([f"{title}, difference", *differences, of_miou, *nothing])
    return lines


def _marks(numbered: Sequence[Note], method: str, labels: str = "") -> str:
    """The numbers of the notes on a method, or on one of the paper's numbers, as ` [1] [3]`."""
    about = (method, labels)
    return "".join(
        f" [{i}]" for i, note in enumerate(numbered, 1) if (note.method, note.labels) == about
    )
