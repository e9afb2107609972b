"""Writes what is known of a table: as text, as numbers for programs, and as figures."""

import csv
from collections.abc import Callable
from pathlib import Path

from experiments.paper_tables import FRACTIONS
from experiments.reproduction import distance, figures
from experiments.reproduction.entries import gather, write_csv
from experiments.reproduction.markdown import write_table
from experiments.reproduction.pictures import draw_figures
from experiments.reproduction.tables import CLAIMS, Table
from sassn_jax.errors import InputError
from sassn_jax.files import replacing

Say = Callable[[str], None]


def check(workdir: Path, table: Table, dataset: str) -> None:
    """Checks that a report can be written before the runs are made for it.

    Raises:
      InputError: if Matplotlib is missing, or the folder has the report of another dataset.
    """
    figures.check_installed()
    path = _path(workdir, table, ".csv")
    if table.name in CLAIMS or not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        before = {line.get("dataset") for line in csv.DictReader(file)}
    if before - {dataset}:
        names = ", ".join(sorted(map(str, before)))
        raise InputError(f"{path}: is of {names}, not {dataset}; choose another --workdir")


def write_report(workdir: Path, table: Table, dataset: str, say: Say) -> None:
    """Writes `table_NAME.md`, `.csv` and `.png`, and the paper's Figures 3 and 4.

    Args:
      workdir: of the cells.
      table: which one.
      dataset: of its cells.
      say: is told of the files.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    entries = gather(workdir, table, dataset)
    picture = _path(workdir, table, ".png")
    say(f"{_path(workdir, table, '.md')}, .csv and .png")
    if table.name == "distance":
        distance.write_report(workdir, table.title, entries)
        return
    with replacing(_path(workdir, table, ".md")) as beside:
        beside.write_text(write_table(table, dataset, entries), encoding="utf-8")
    write_csv(_path(workdir, table, ".csv"), dataset, entries, per_class=table.name == "3")
    if table.name == "stability":
        figures.draw_stability(picture, table, entries)
        return
    draw = figures.draw_classes if table.name == "3" else figures.draw_scores
    draw(picture, table, dataset, entries)
    labels = tuple(dict.fromkeys(column.labels for column in table.columns))
    if set(labels) < set(FRACTIONS):  # of a table with two of them: the figure has all four
        labels = FRACTIONS
    for path in draw_figures(workdir, dataset, labels):
        say(str(path))


def _path(workdir: Path, table: Table, suffix: str) -> Path:
    return workdir / f"table_{table.name}{suffix}"
