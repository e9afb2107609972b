"""Whether attention sees what is far away: accuracy on the look-alike pair by distance."""

import csv
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from experiments.reproduction import results
from experiments.reproduction.entries import Entry
from experiments.reproduction.figures import draw_distance
from experiments.reproduction.markdown import ABOUT, about, failures, grid, recipes, spread
from experiments.reproduction.receptive_field import HELD, ReceptiveField, measure
from experiments.reproduction.results import summarize
from sassn_jax.data.scenes import CLASS_NAMES, LOOK_ALIKE
from sassn_jax.files import replacing, write_json
from sassn_jax.training.evaluate_run import Run, load_run
from sassn_jax.training.setup import make_normalize

# Of the bins, in pixels. CUE_DISTANCE / sqrt(2), less the signal's radius, leaves 22; a scene has
# 96. The outer bins are wide, since few gates are there.
EDGES = (16, *range(32, 73, 8), 96)
FILE = "distance.json"
SPLIT = "test"
REPEATED = 5  # times that a scene is laid side by side and mirrored, so that the field fits in
MEASURED_ON = 4  # scenes
SHARE = "right, of the pair's pixels"
TOLD_APART = "right, of those called one of the pair"

# Of the look-alike pair's pixels, by distance: how many are `right`, how many are `called` one of
# the pair, whether right or not, how many there are (`pixels`), and in how many `scenes`: those of
# one scene share a cue, and are right or wrong together.
Counts = dict[str, Int[np.ndarray, " bins"]]
Shares = Float[np.ndarray, "runs bins"]  # NaN where there are no pixels


def write_report(workdir: Path, title: str, entries: Sequence[Entry]) -> None:
    """Writes `table_distance.md`, `.csv` and `.png` from the runs of the table's rows.

    The first row is that without attention: its runs' receptive field is measured.
    """
    counts = {
        entry.row.title: [_counts(folder) for folder in _folders(workdir, entry)]
        for entry in entries
    }
    shares = {
        SHARE: {name: _shares(runs, "pixels") for name, runs in counts.items()},
        TOLD_APART: {name: _shares(runs, "called") for name, runs in counts.items()},
    }
    there = next((runs[0] for runs in counts.values() if runs), None)  # the same for all runs
    fields = [_field(folder) for folder in _folders(workdir, entries[0])]
    extents = {}
    if fields:
        at_least = "at least " if any(f.is_cut for f in fields) else ""
        extents = {
            f"reach, {HELD:.0%} of the squared gradient": float(
                np.mean([f.effective for f in fields])
            ),
            f"reach, {at_least}any gradient": float(np.mean([f.extent for f in fields])),
        }
    without = entries[0].row.title
    path = workdir / "table_distance"
    with replacing(path.with_suffix(".md")) as beside:
        beside.write_text(_markdown(title, entries, shares, there, fields), encoding="utf-8")
    _write_csv(path.with_suffix(".csv"), shares, there)
    marked = {f"{without}'s {name}": value for name, value in extents.items()}
    draw_distance(path.with_suffix(".png"), title, shares, EDGES, marked)


def distance_to(where: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Returns each pixel's distance from the nearest of some, the larger of rows and columns.

    So a network whose receptive field reaches r pixels sees one of them from r pixels, not from
    r + 1. There must be at least one.
    """
    rows, columns = np.nonzero(where)
    y, x = map(np.asarray, np.indices(where.shape))
    apart = np.maximum(abs(y[..., None] - rows), abs(x[..., None] - columns))
    return np.asarray(apart).min(-1)


def count(label: Integer[np.ndarray, "H W"], prediction: Integer[np.ndarray, "H W"]) -> Counts:
    """Counts a scene's pixels of the look-alike pair in each bin of `EDGES`."""
    pair = [CLASS_NAMES.index(name) for name in LOOK_ALIKE]
    of_pair = np.isin(label, pair)
    distances = distance_to(label == CLASS_NAMES.index("signal"))

    def by_distance(where: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, " bins"]:
        return np.histogram(distances[where], EDGES)[0]

    pixels = by_distance(of_pair)
    return {
        "right": by_distance(of_pair & (label == prediction)),
        "called": by_distance(of_pair & np.isin(prediction, pair)),
        "pixels": pixels,
        "scenes": (pixels > 0).astype(int),
    }


def _folders(workdir: Path, entry: Entry) -> list[Path]:
    return [workdir / results.FOLDER / run["cell"] for run in entry.finished]


def _counts(folder: Path) -> Counts:
    counts = _measured(folder)["counts"]
    return {name: np.array(numbers) for name, numbers in counts.items()}


def _field(folder: Path) -> ReceptiveField:
    return ReceptiveField(**_measured(folder)["receptive_field"])


def _measured(folder: Path) -> dict[str, Any]:
    """Of a run; kept in its folder, since the network has to see all of the split."""
    result = results.read(folder) or {}
    key = {"began": result["began"], "edges": list(EDGES), "held": HELD}
    known = results.read(folder, FILE)
    if known is not None and known.items() >= key.items():
        return known
    run = load_run(folder)
    source = run.dataset.splits[SPLIT]
    examples = (source[index] for index in range(len(source)))
    scenes = [count(example["label"], run.predict(example["image"])) for example in examples]
    counts = {
        name: np.sum([scene[name] for scene in scenes], axis=0).tolist() for name in scenes[0]
    }
    measured: dict[str, Any] = {**key, "counts": counts}
    if not run.config.model.attention:
        measured["receptive_field"] = dataclasses.asdict(receptive_field(run))
    write_json(folder / FILE, measured)
    return measured


def receptive_field(run: Run) -> ReceptiveField:
    """Measures how far a run's network without attention sees, from the middle of scenes."""
    method: Any = run.method  # one that has a generator
    normalize, source = make_normalize(run.config), run.dataset.splits[SPLIT]
    images = [
        _repeat(normalize(source[index]["image"])) for index in range(min(MEASURED_ON, len(source)))
    ]

    def logits(variables: Any, images: jax.Array) -> jax.Array:
        return method.generator.apply(variables, images, train=False)

    return measure(logits, run.variables, images, CLASS_NAMES.index(LOOK_ALIKE[0]))


def _repeat(image: np.ndarray) -> np.ndarray:
    """A scene among its mirror images, which have its statistics and no seams."""
    height, width, _ = image.shape
    around = REPEATED // 2
    edges = ((around * height,) * 2, (around * width,) * 2, (0, 0))
    return np.pad(image, edges, mode="symmetric")


def _shares(runs: Sequence[Counts], of: str) -> Shares:
    """How many are right of the pixels that a count has under `of`."""
    shares = [np.where(run[of], run["right"] / np.maximum(run[of], 1), np.nan) for run in runs]
    return np.reshape(shares, (len(runs), len(EDGES) - 1))


def _markdown(
    title: str,
    entries: Sequence[Entry],
    shares: dict[str, dict[str, Shares]],
    there: Counts | None,
    fields: Sequence[ReceptiveField],
) -> str:
    curves = [curve for by_row in shares.values() for curve in by_row.values()]
    rows = [
        [
            f"{low} to {high - 1}",
            *(str(there[name][i]) if there else "" for name in ("pixels", "scenes")),
            *(spread(summarize(curve[:, i]), 3) for curve in curves),
        ]
        for i, (low, high) in enumerate(itertools.pairwise(EDGES))
    ]
    names = list(shares[SHARE])
    parts = [
        f"# {title}: scenes, split {SPLIT}",
        "Share of the pair's pixels that are right; and of those that are called one of the pair, "
        "right or not, of which a guess has a half. Mean ± sample standard deviation (runs), by "
        "distance in pixels from the nearest pixel of the signal, the larger of rows and columns.",
        grid(
            ["distance", "pixels", "scenes", *names, *(f"{name}, of the pair" for name in names)],
            rows,
        ),
    ]
    parts += [
        f"{run['cell']}: the gradient of a logit reaches {'at least ' if field.is_cut else ''}"
        f"{field.extent} pixels far; {HELD:.0%} of its square are within {field.effective} pixels."
        for run, field in zip(entries[0].finished, fields, strict=True)
    ]
    parts.append(grid(["", *ABOUT], [[entry.row.title, *about([entry])] for entry in entries]))
    parts += recipes(entries) + failures(entries)
    return "\n\n".join(parts) + "\n"


def _write_csv(path: Path, shares: dict[str, dict[str, Shares]], there: Counts | None) -> None:
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["row", "share", "from", "below", "pixels", "scenes", "runs", "mean", "spread"]
        )
        for share, by_row in shares.items():
            for name, curve in by_row.items():
                for i, (low, high) in enumerate(itertools.pairwise(EDGES)):
                    counted = [there[what][i] if there else "" for what in ("pixels", "scenes")]
                    summary = summarize(curve[:, i])
                    mean = summary.mean if summary.count else ""
                    around = summary.spread if summary.count > 1 else ""
                    writer.writerow([name, share, low, high, *counted, summary.count, mean, around])
