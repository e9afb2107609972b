"""Figures 3 and 4 of the paper: what the networks of finished cells make of some images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.pictures import write_headed_table
from experiments.reproduction import results
from experiments.reproduction.cells import Cell, scored_split
from sassn_jax.training.evaluate_run import load_run
from sassn_jax.training.summaries import picture_row

PICTURED = 4  # images
WIDTH = 240  # pixels that a picture has at the least
COMPARED = ("advsemiseg", "sa", "sn", "sassn")  # in Figure 4


def draw_figures(
    workdir: Path, dataset: str, labels: Sequence[str], compared: str, data_dir: str = ""
) -> list[Path]:
    """Draws Figure 3 (sassn by labels) and Figure 4 (methods, with the same labels).

    Args:
      workdir: of the cells; of each the first seed that all have, else the first that it has
        itself, is taken, and one that is not there left out.
      dataset: one of `cells.CONFIGS`.
      labels: of Figure 3.
      compared: labels of Figure 4, half of them in the paper.
      data_dir: where the dataset is now; where the runs had it if empty.

    Returns:
      The files written: none of a figure with no cell.
    """
    figures = {
        f"figure_3_{dataset}.png": {
            f"sassn, {'full' if choice == '1' else choice}": Cell(dataset, "sassn", choice, 0)
            for choice in labels
        },
        f"figure_4_{dataset}.png": {
            f"{method}, {'full' if compared == '1' else compared}": Cell(
                dataset, method, compared, 0
            )
            for method in COMPARED
        },
    }
    written = []
    for name, columns in figures.items():
        if known := _comparable(workdir, columns):
            _draw(workdir / name, known, scored_split(dataset), data_dir)
            written.append(workdir / name)
    return written


def _comparable(workdir: Path, columns: dict[str, Cell]) -> dict[str, Path]:
    """Folders of runs, of one seed and so of the same labelled images if all have one in common."""
    finished = {
        heading: results.finished(results.read_seeds(workdir, cell))
        for heading, cell in columns.items()
    }
    known = {heading: runs for heading, runs in finished.items() if runs}
    seeds = [{run["seed"] for run in runs} for runs in known.values()]
    common = set.intersection(*seeds) if seeds else set()
    return {
        heading: workdir
        / results.FOLDER
        / next((run["cell"] for run in runs if run["seed"] in common), runs[0]["cell"])
        for heading, runs in known.items()
    }


def _draw(path: Path, folders: dict[str, Path], split: str, data_dir: str) -> None:
    rows: list[list[np.ndarray]] = [[] for _ in range(PICTURED)]
    for folder in folders.values():
        run = load_run(folder, overrides={"data_dir": data_dir} if data_dir else {})
        source = run.dataset.splits[split]
        for index, row in zip(_spread(len(source)), rows, strict=False):
            example = source[index]
            pictures = picture_row(example, run.predict(example["image"]), run.dataset.info)
            row.extend(pictures if not row else pictures[2:])
    rows = [row for row in rows if row]
    enlarged = max(1, WIDTH // rows[0][0].shape[1])
    write_headed_table(path, ("input", "truth", *folders), rows, enlarged)


def _spread(count: int) -> list[int]:
    """Images from all over a split, where neighbours are often alike; the same for all runs."""
    return sorted(set(np.linspace(0, count - 1, PICTURED, dtype=int).tolist()))
