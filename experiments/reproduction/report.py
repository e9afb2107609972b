"""Writes a table as text, as numbers for programs, and as figures."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.paper_tables import FRACTIONS
from experiments.reproduction import distance, figures, results
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.entries import gather, write_csv, write_runs
from experiments.reproduction.markdown import write_table
from experiments.reproduction.pictures import draw_figures
from experiments.reproduction.scheduling import Say
from experiments.reproduction.tables import CLAIMS, Table
from sassn_jax.errors import InputError
from sassn_jax.files import replacing


def check(
    workdir: Path,
    table: Table,
    dataset: str,
    recipe: Recipe | None = None,
    cells: Sequence[Cell] = (),
) -> None:
    """Checks, before any cell is run, that the report can be written.

    Args:
      workdir: of the cells.
      table: to report.
      dataset: of its cells.
      recipe: of the runs; None if there will be no runs.
      cells: to run.

    Raises:
      InputError: if Matplotlib is missing, or if the folder has the report of another dataset or
        cells of another recipe: one table must not mix them.
    """
    figures.check_installed()
    if recipe is not None:
        _check_recipe(workdir, table, dataset, recipe, cells)
    path = _path(workdir, table, ".csv")
    if table.name in CLAIMS or not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        before = {line.get("dataset") for line in csv.DictReader(file)}
    if before - {dataset}:
        names = ", ".join(sorted(map(str, before)))
        raise InputError(f"{path}: is of {names}, not {dataset}; choose another --workdir")


def _check_recipe(
    workdir: Path, table: Table, dataset: str, recipe: Recipe, cells: Sequence[Cell]
) -> None:
    wanted = {dataclasses.replace(cell, seed=0) for cell in cells}
    for entry in gather(workdir, table, dataset):
        cell = table.cell(dataset, entry.row, entry.column, 0)
        now: list[tuple[str, str, Any]] = [("--set", "changes", recipe.changes)]
        if cell in wanted:  # the weights of other cells need not be given
            now.append(("--weights", "weights", recipe.weights_of(cell)))
        for run in filter(results.has_ended, entry.runs):
            for flag, key, value in now:
                if run.get(key) not in (None, value):
                    raise InputError(
                        f"{workdir}: {run['cell']} was made with {flag} of {run[key]}, now it is "
                        f"{value}; choose another --workdir"
                    )


def write_report(workdir: Path, table: Table, dataset: str, say: Say, data_dir: str = "") -> None:
    """Writes `table_NAME.md`, `.csv`, `_runs.csv` and `.png`, and the paper's Figures 3 and 4.

    Args:
      workdir: of the cells.
      table: to report.
      dataset: of its cells.
      say: prints the names of the files.
      data_dir: where the dataset is now; where the runs had it if empty.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    entries = gather(workdir, table, dataset)
    write_runs(_path(workdir, table, "_runs.csv"), entries)
    text, picture = (_path(workdir, table, suffix) for suffix in (".md", ".png"))
    if table.name == "distance":
        distance.write_report(workdir, table.title, entries)
    else:
        with replacing(text) as beside:
            beside.write_text(write_table(table, dataset, entries), encoding="utf-8")
        write_csv(text.with_suffix(".csv"), dataset, entries, per_class=table.name == "3")
    if table.name == "stability":
        figures.draw_stability(picture, table, entries)
    elif table.name == "3":
        figures.draw_classes(picture, table, dataset, entries)
    elif table.name != "distance":
        figures.draw_scores(picture, table, dataset, entries)
    say(f"{text}, .csv, _runs.csv and .png")
    if table.name in CLAIMS:
        return
    labels = tuple(dict.fromkeys(column.labels for column in table.columns))
    others = _other_labels(workdir, table, dataset, labels)
    if others and not table.is_papers(dataset):  # the paper's tables share one folder of cells
        say(f"not in it: runs with labels {', '.join(others)}; --labels adds them")
    compared = [choice for choice in labels if choice != "1"] or labels
    # Figure 3 has all four fractions, also with a table that has fewer.
    shown = FRACTIONS if set(labels) < set(FRACTIONS) else labels
    for path in draw_figures(workdir, dataset, shown, compared[-1], data_dir):
        say(str(path))


def _other_labels(workdir: Path, table: Table, dataset: str, labels: Sequence[str]) -> list[str]:
    """Labels of runs of the table's methods that are in none of its columns."""
    paths = workdir.glob(f"{results.FOLDER}/*/{results.FILE}")
    runs = filter(results.has_ended, (results.read(path.parent) or {} for path in paths))
    wanted = {(dataset, row.method) for row in table.rows}
    found = {run["labels"] for run in runs if (run.get("dataset"), run.get("method")) in wanted}
    return sorted(found - set(labels))


def _path(workdir: Path, table: Table, suffix: str) -> Path:
    return workdir / f"table_{table.name}{suffix}"
