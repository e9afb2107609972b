"""Accuracy on the look-alike pair by distance: does attention see far away?"""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from experiments.reproduction import results
from experiments.reproduction.entries import Entry
from experiments.reproduction.figures import draw_distance
from experiments.reproduction.markdown import ABOUT, about, failures, grid, recipes, spread
from experiments.reproduction.receptive_field import HELD, ReceptiveField, measure
from experiments.reproduction.results import Summary, summarize
from sassn_jax.data.scenes import CLASS_NAMES, LOOK_ALIKE
from sassn_jax.files import replacing, write_json
from sassn_jax.prediction.run import Run, load_run

# Edges of the bins in pixels. The nearest gates are 22 pixels away (CUE_DISTANCE / sqrt(2), less
# the signal's radius); a scene is 96 wide. The outer bins are wide since they have few gates.
EDGES = (16, *range(32, 73, 8), 96)
FILE = "distance.json"
SPLIT = "test"
REPEATED = 5  # copies of a scene, mirrored, side by side, so that the receptive field fits in
MEASURED_ON = 4  # scenes for the receptive field
SHARE = "right, of the pair's pixels"
TOLD_APART = "right, of those called one of the pair"

# Numbers of pixels of the look-alike pair, by distance: `right`, `called` one of the pair (right or
# not) and all (`pixels`). `scenes` is the number of scenes that they are in: all pixels of one
# scene share a cue, so they are right or wrong together.
Counts = dict[str, Int[np.ndarray, " bins"]]
Shares = Float[np.ndarray, "runs bins"]  # NaN where there are no pixels
# Of each bin, by `SHARE` or `TOLD_APART` and the title of the row.
Summaries = dict[tuple[str, str], list[Summary]]


def write_report(workdir: Path, title: str, entries: Sequence[Entry]) -> None:
    """Writes `table_distance.md`, `.csv` and `.png` from the runs of the table's rows.

    The first row is the method without attention, whose receptive field is measured.
    """
    measured = {
        entry.row.title: [
            _measured(workdir / results.FOLDER / run["cell"]) for run in entry.finished
        ]
        for entry in entries
    }
    shares = {
        share: {
            name: np.reshape([_divide(run["counts"], of) for run in runs], (-1, len(EDGES) - 1))
            for name, runs in measured.items()
        }
        for share, of in ((SHARE, "pixels"), (TOLD_APART, "called"))
    }
    every = [run["counts"] for runs in measured.values() for run in runs]
    nothing = dict.fromkeys(("pixels", "scenes"), [""] * (len(EDGES) - 1))
    there = every[0] if every else nothing  # the same for all runs
    without = entries[0].row.title
    fields = [ReceptiveField(**run["receptive_field"]) for run in measured[without]]
    extents = {}
    if fields:
        at_least = "at least " if any(field.is_cut for field in fields) else ""
        extents = {
            f"{without}'s reach, {HELD:.0%} of the squared gradient": statistics.fmean(
                field.effective for field in fields
            ),
            f"{without}'s reach, {at_least}any gradient": statistics.fmean(
                field.extent for field in fields
            ),
        }
    summaries = {
        (share, name): [summarize(bin_) for bin_ in curve.T]
        for share, by_row in shares.items()
        for name, curve in by_row.items()
    }
    path = workdir / "table_distance"
    with replacing(path.with_suffix(".md")) as beside:
        beside.write_text(_markdown(title, entries, summaries, there, fields), encoding="utf-8")
    _write_csv(path.with_suffix(".csv"), summaries, there)
    draw_distance(path.with_suffix(".png"), title, shares, EDGES, extents)


def distance_to(where: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Returns each pixel's distance from the nearest pixel of `where`, of which it needs one.

    The distance is the larger of rows and columns: a network whose receptive field reaches r pixels
    sees what is r away, but not what is r + 1 away.
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

    return {
        "right": by_distance(of_pair & (label == prediction)),
        "called": by_distance(of_pair & np.isin(prediction, pair)),
        "pixels": (pixels := by_distance(of_pair)),
        "scenes": (pixels > 0).astype(int),
    }


def _measured(folder: Path) -> dict[str, Any]:
    """Counts and receptive field of a run; kept in its folder, since they take a while."""
    result = results.read(folder) or {}
    key = {"began": result["began"], "edges": list(EDGES), "held": HELD}
    known = results.read(folder, FILE)
    if known is not None and known.items() >= key.items():
        return known
    run = load_run(folder)
    source = run.dataset.splits[SPLIT]
    examples = (source[index] for index in range(len(source)))
    scenes = [count(example["label"], run.predict(example["image"]).ids) for example in examples]
    counts = {
        name: np.sum([scene[name] for scene in scenes], axis=0).tolist() for name in scenes[0]
    }
    measured: dict[str, Any] = {**key, "counts": counts}
    if not run.config.model.attention:
        measured["receptive_field"] = dataclasses.asdict(receptive_field(run))
    write_json(folder / FILE, measured)
    return measured


def receptive_field(run: Run) -> ReceptiveField:
    """Measures how far a run's network without attention sees, from the middle of scenes.

    Each scene is surrounded with mirror images, which have the same statistics and no seams.
    """
    source, around = run.dataset.splits[SPLIT], REPEATED // 2
    images = []
    for index in range(min(MEASURED_ON, len(source))):
        image = run.config.image(source[index]["image"])
        height, width, _ = image.shape
        edges = ((around * height,) * 2, (around * width,) * 2, (0, 0))
        images.append(np.pad(image, edges, mode="symmetric"))
    place = CLASS_NAMES.index(LOOK_ALIKE[0])
    return measure(run.method.generator.logits, run.variables, images, place)


def _divide(counts: Mapping[str, Sequence[int]], of: str) -> Float[np.ndarray, " bins"]:
    """Divides the numbers of right pixels by the count `of`."""
    whole = np.array(counts[of])
    return np.where(whole, counts["right"] / np.maximum(whole, 1), np.nan)


def _markdown(
    title: str,
    entries: Sequence[Entry],
    summaries: Summaries,
    there: Mapping[str, Sequence[Any]],
    fields: Sequence[ReceptiveField],
) -> str:
    columns = {
        "distance": [f"{low} to {high - 1}" for low, high in itertools.pairwise(EDGES)],
        "pixels": map(str, there["pixels"]),
        "scenes": map(str, there["scenes"]),
    }
    for (share, name), bins in summaries.items():
        heading = name if share == SHARE else f"{name}, of the pair"
        columns[heading] = [spread(summary, 3) for summary in bins]
    parts = [
        f"# {title}: scenes, split {SPLIT}",
        "Share of right pixels: of all pixels of the pair, then of those that are called one of "
        "the pair, of which a guess has a half. Mean ± sample standard deviation (runs), by "
        "distance in pixels from the nearest pixel of the signal, the larger of rows and columns.",
        grid(list(columns), zip(*columns.values(), strict=True)),
    ]
    parts += [
        f"{run['cell']}: the gradient of a logit reaches {'at least ' if field.is_cut else ''}"
        f"{field.extent} pixels far; {HELD:.0%} of its square are within {field.effective} pixels."
        for run, field in zip(entries[0].finished, fields, strict=True)
    ]
    parts.append(grid(["", *ABOUT], [[entry.row.title, *about([entry])] for entry in entries]))
    parts += recipes(entries) + failures(entries)
    return "\n\n".join(parts) + "\n"


def _write_csv(path: Path, summaries: Summaries, there: Mapping[str, Sequence[Any]]) -> None:
    lines = [
        {
            "row": name,
            "share": share,
            "from": low,
            "below": high,
            "pixels": pixels,
            "scenes": scenes,
            "runs": summary.count,
            "mean": summary.mean if summary.count else "",
            "spread": summary.spread if summary.count > 1 else "",
        }
        for (share, name), bins in summaries.items()
        for (low, high), pixels, scenes, summary in zip(
            itertools.pairwise(EDGES), there["pixels"], there["scenes"], bins, strict=True
        )
    ]
    results.write_csv(path, lines[0], lines)
