"""Figures 3 and 4 of the paper: predictions of finished cells on some images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pictures import draw_predictions
from experiments.reproduction import results
from experiments.reproduction.cells import Cell, scored_split
from sassn_jax.prediction.run import load_run

PICTURED = 4  # images
WIDTH = 240  # pixels up to which small pictures are enlarged
COMPARED = ("advsemiseg", "sa", "sn", "sassn")  # in Figure 4


def draw_figures(
    workdir: Path, dataset: str, labels: Sequence[str], compared: str, data_dir: str = ""
) -> list[Path]:
    """Draws Figure 3 (sassn by labels) and Figure 4 (methods, with the same labels).

    Args:
      workdir: of the cells. Cells that are not finished are left out. The seed is the first that
        all cells of a figure have, or else a cell's own first.
      dataset: one of `cells.CONFIGS`.
      labels: of Figure 3.
      compared: labels of Figure 4, half of them in the paper.
      data_dir: where the dataset is now; where the runs had it if empty.

    Returns:
      The files written; a figure without a finished cell is not written.
    """
    figures = {
        f"figure_3_{dataset}.png": {
            _heading("sassn", choice): Cell(dataset, "sassn", choice, 0) for choice in labels
        },
        f"figure_4_{dataset}.png": {
            _heading(method, compared): Cell(dataset, method, compared, 0) for method in COMPARED
        },
    }
    written = []
    for name, columns in figures.items():
        if known := _comparable(workdir, columns):
            moved = {"data_dir": data_dir} if data_dir else {}
            runs = ((heading, load_run(folder, overrides=moved)) for heading, folder in known)
            draw_predictions(workdir / name, runs, scored_split(dataset), _spread, WIDTH)
            written.append(workdir / name)
    return written


def _heading(method: str, labels: str) -> str:
    return f"{method}, {'full' if labels == '1' else labels}"


def _comparable(workdir: Path, columns: dict[str, Cell]) -> list[tuple[str, Path]]:
    """Folders of runs, of one seed (and so the same labelled images) if all have one in common."""
    found = []
    for heading, cell in columns.items():
        if runs := results.finished(results.read_seeds(workdir, cell)):
            found.append((heading, {run["seed"]: run["cell"] for run in runs}))
    common = set(found[0][1]).intersection(*(cells for _, cells in found)) if found else set()
    return [
        (heading, workdir / results.FOLDER / cells[min(common or cells)])
        for heading, cells in found
    ]


def _spread(count: int) -> list[int]:
    """Indices spread evenly over a split, since neighbours are often alike."""
    return sorted(set(np.linspace(0, count - 1, PICTURED, dtype=int).tolist()))
