"""The tables as figures. Only this module needs Matplotlib."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reproduction import results
from experiments.reproduction.entries import Entry, class_names
from experiments.reproduction.results import Summary, summarize
from experiments.reproduction.tables import Table
from sassn_jax.errors import InputError
from sassn_jax.files import replacing

OURS, PAPER = "#1f5fa8", "#c2410c"
COLORS = ("#6b7280", "#1f5fa8", "#0f8a5f", "#b45309")  # of rows that share a panel
DOTS_AN_INCH = 150
BELOW = {"loc": "outside lower center", "frameon": False}  # of a figure's legend


def check_installed() -> None:
    """Raises InputError, which says what to install, if Matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "Matplotlib, which draws the figures, is not installed; run "
            "python -m pip install -e '.[report]' in the project's environment"
        )


def draw_scores(path: Path, table: Table, dataset: str, entries: Sequence[Entry]) -> None:
    """Draws a panel for each column of a table. Each row has our number and the paper's."""
    columns = [c for c in table.columns if any(table.has(row, c) for row in table.rows)]
    height = 1.1 + 0.32 * len(table.rows)
    figure, panels = _panels(1, len(columns), width=2.6, height=height, grid="both")
    for panel, column in zip(panels[0], columns, strict=True):
        # The entries of a column are in the order of the rows.
        for place, entry in enumerate(entry for entry in entries if entry.column == column):
            _draw_score(panel, place, entry)
        panel.set_title(column.title if column.title == "Full" else f"{column.title} of the labels")
        panel.set_xlabel("mIoU, %")
        panel.set_ylim(len(table.rows) - 0.5, -0.5)  # from top to bottom, as in the table
        panel.set_yticks(range(len(table.rows)), [""] * len(table.rows))
        panel.set_axisbelow(True)
    panels[0, 0].set_yticks(range(len(table.rows)), [row.title for row in table.rows])
    handles = [_dot(panels[0, 0], [], [])]
    labels = ["ours, with the spread over seeds"]
    if table.is_papers(dataset):
        handles += panels[0, 0].plot([], [], "D", color=PAPER, fillstyle="none")
        labels.append("the paper's")
    figure.legend(handles, labels, **BELOW, ncols=2)
    _save(figure, path, f"{table.title}, {dataset}")


def _draw_score(panel: Any, place: int, entry: Entry) -> None:
    if entry.miou.count:
        _dot(panel, entry.miou.mean, place, xerr=entry.miou.spread)
    elif entry.errors or entry.diverged:
        word = "failed" if entry.errors else "diverged"
        panel.text(0.5, place, word, transform=panel.get_yaxis_transform(), color="0.4",
                   ha="center", va="center", fontsize="small")  # fmt: skip
    if isinstance(entry.paper, float):
        panel.plot(entry.paper, place, "D", color=PAPER, fillstyle="none", markersize=6, zorder=2)
    elif entry.paper:
        panel.annotate(f"paper: {entry.paper}", (0.5, place), (0, 6), panel.get_yaxis_transform(),
                       "offset points", color=PAPER, ha="center", va="bottom",
                       fontsize="small")  # fmt: skip


def _dot(panel: Any, x: Any, y: Any, **spread: Any) -> Any:
    return panel.errorbar(x, y, **spread, fmt="o", color=OURS, capsize=3, zorder=3)


def draw_classes(path: Path, table: Table, dataset: str, entries: Sequence[Entry]) -> None:
    """Draws Table III: a panel for each column, classes from left to right, one colour a method."""
    names = class_names(entries)
    width = 2.5 + 0.42 * max(len(names), 12)
    figure, panels = _panels(len(table.columns), 1, width=width, height=2.0, share_y=True)
    for panel, column in zip(panels[:, 0], table.columns, strict=True):
        own = [entry for entry in entries if entry.column == column]
        for i, (entry, color) in enumerate(zip(own, COLORS[1:], strict=False)):
            places = np.arange(len(names)) + 0.22 * (i - (len(own) - 1) / 2)
            ours = [entry.classes.get(name, summarize(())) for name in names]
            style = {"fmt": "o", "color": color, "markersize": 4, "lw": 1}
            panel.errorbar(places, *_means_and_spreads(ours), **style, label=entry.row.title)
            if entry.paper_classes:
                panel.plot(places, entry.paper_classes, "_", color="0.2", markersize=7, zorder=3)
        panel.set_ylabel(f"IoU, {column.title}")
        panel.set_xticks(np.arange(len(names)), names, rotation=35, ha="right")
        panel.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 1))
        if panel is not panels[-1, 0]:
            panel.tick_params(labelbottom=False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if table.is_papers(dataset):
        labels = [*labels, "the paper's"]
        handles.append(panels[0, 0].plot([], [], "_", color="0.2", markersize=9)[0])
    figure.legend(handles, labels, **BELOW, ncols=len(labels))
    _save(figure, path, f"{table.title}, {dataset}")


def draw_stability(path: Path, table: Table, entries: Sequence[Entry]) -> None:
    """Draws D's last loss, the share of healthy runs and mIoU over D's learning rate."""
    figure, panels = _panels(1, 3, width=3.4, height=3.2)
    low, high = results.HEALTHY_LOSS
    panels[0, 0].axhspan(low, high, color="#0f8a5f", alpha=0.12, lw=0, label="healthy")
    shown = {
        "D's loss at the end": lambda entry: entry.discriminator_loss,
        "share of runs that end healthy": _share,
        "mIoU, %": lambda entry: entry.miou,
    }
    multiples = [column.multiple for column in table.columns]
    for panel, (title, value) in zip(panels[0], shown.items(), strict=True):
        for i, row in enumerate(table.rows):
            own = _means_and_spreads([value(entry) for entry in entries if entry.row == row])
            places = np.array(multiples) * (1.0, 1.05)[i % 2]  # so that bars do not hide each other
            style = {"fmt": "o-", "color": COLORS[i], "capsize": 2}
            panel.errorbar(places, *own, **style, label=row.title)
        panel.set_xscale("log")
        panel.set_xticks(multiples, [f"{multiple}x" for multiple in multiples])
        panel.minorticks_off()
        panel.set_xlabel("D's learning rate")
        panel.set_title(title)
    panels[0, 1].set_ylim(-0.05, 1.05)
    panels[0, 0].legend(frameon=False)
    _save(figure, path, table.title)


def _share(entry: Entry) -> Summary:
    healthy, total = results.count_healthy(entry.runs)
    return Summary(total, healthy / total if total else math.nan, 0.0)


def draw_distance(
    path: Path,
    title: str,
    shares: dict[str, dict[str, np.ndarray]],
    edges: Sequence[float],
    extents: dict[str, float],
) -> None:
    """Draws shares of right pixels by distance. Thick lines are means of the thin ones, the runs.

    Args:
      path: of the PNG file.
      title: of the figure.
      shares: `[runs, bins]`, by title of the panel, then by method. Chance is 0.5 in the last one.
      edges: of the bins in pixels. All bins but the first and the last are equally wide.
      extents: distances in pixels to mark, by name.
    """
    figure, panels = _panels(1, len(shares), width=4.2, height=3.6, share_y=True)
    # Nearly all pixels of the first and the last bin, which are wider, are close to the others.
    width = edges[2] - edges[1]
    middles = np.arange(edges[1] - width, edges[-2] + 1, width) + width / 2
    for panel, (title_of_panel, curves) in zip(panels[0], shares.items(), strict=True):
        for (name, runs), color in zip(curves.items(), COLORS, strict=False):
            for run in runs:
                panel.plot(middles, run, color=color, alpha=0.4, lw=1)
            means = [summarize(bin_).mean for bin_ in runs.T]
            panel.plot(middles, means, "o-", color=color, lw=2, label=name)
        for (name, extent), style in zip(extents.items(), ("--", "-."), strict=False):
            panel.axvline(extent, color="0.3", lw=1.2, ls=style, label=f"{name}: {extent:.0f}")
        panel.set_ylim(0, 1)
        panel.set_xlabel("distance from the signal, pixels")
        panel.set_title(title_of_panel, fontsize="medium")
    panels[0, -1].axhline(0.5, color="0.6", lw=1, ls=":", label="a guess between the two")
    handles, labels = panels[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, **BELOW, ncols=2)
    _save(figure, path, title)


def _panels(
    rows: int, columns: int, *, width: float, height: float, share_y: bool = False, grid: str = "y"
) -> tuple[Any, Any]:
    """A figure without a window, and its panels `[rows, columns]`, of a size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns + 1.5, height * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis=grid, color="0.9")
    return figure, panels


def _means_and_spreads(summaries: Sequence[Summary]) -> tuple[list[float], list[float]]:
    return [x.mean for x in summaries], [x.spread for x in summaries]


def _save(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=DOTS_AN_INCH)
