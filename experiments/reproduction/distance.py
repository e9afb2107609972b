"""Whether attention sees what is far away: accuracy on the look-alike pair by distance."""

import csv
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, Integer

from experiments.reproduction import results
from experiments.reproduction.entries import Entry
from experiments.reproduction.figures import draw_distance
from experiments.reproduction.markdown import ABOUT, about, failures, grid, recipes, spread
from experiments.reproduction.receptive_field import HELD, ReceptiveField, measure
from experiments.reproduction.results import Summary, summarize
from sassn_jax.data.scenes import CLASS_NAMES, LOOK_ALIKE
from sassn_jax.files import replacing, write_json
from sassn_jax.training.evaluate_run import Run, load_run
from sassn_jax.training.setup import make_normalize

# Of the bins, in pixels: CUE_DISTANCE / sqrt(2), less the signal's radius, is 22; a scene has 96.
EDGES = tuple(range(16, 97, 8))
FILE = "distance.json"
SPLIT = "test"
REPEATED = 5  # times that a scene is laid side by side and mirrored, so that the field fits in
MEASURED_ON = 4  # scenes


@dataclasses.dataclass(frozen=True)
class Counts:
    """Pixels of the look-alike pair by distance, a number for each bin of `EDGES`."""

    right: list[int]
    total: list[int]


def write_report(workdir: Path, title: str, entries: Sequence[Entry]) -> None:
    """Writes `table_distance.md`, `.csv` and `.png` from the runs of the table's rows.

    The first row is that without attention: its runs' receptive field is measured.
    """
    accuracies = {
        entry.row.title: _summaries([_counts(folder) for folder in _folders(workdir, entry)])
        for entry in entries
    }
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
        beside.write_text(_markdown(title, entries, accuracies, fields), encoding="utf-8")
    _write_csv(path.with_suffix(".csv"), accuracies)
    marked = {f"{without}'s {name}": value for name, value in extents.items()}
    draw_distance(path.with_suffix(".png"), title, accuracies, EDGES, marked)


def distance_to(where: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Returns each pixel's distance from the nearest of some, the larger of rows and columns.

    So a network whose receptive field reaches r pixels sees one of them from r pixels, not from
    r + 1. There must be at least one.
    """
    rows, columns = np.nonzero(where)
    y, x = map(np.asarray, np.indices(where.shape))
    apart = np.maximum(abs(y[..., None] - rows), abs(x[..., None] - columns))
    return np.asarray(apart).min(-1)


def count(
    label: Integer[np.ndarray, "H W"], prediction: Integer[np.ndarray, "H W"]
) -> tuple[np.ndarray, np.ndarray]:
    """Counts pixels of the look-alike pair by distance from the signal.

    Returns:
      How many are right, and how many there are, for each bin of `EDGES`.
    """
    pair = np.isin(label, [CLASS_NAMES.index(name) for name in LOOK_ALIKE])
    distances = distance_to(label == CLASS_NAMES.index("signal"))
    total, _ = np.histogram(distances[pair], EDGES)
    right, _ = np.histogram(distances[pair & (label == prediction)], EDGES)
    return right, total


def _folders(workdir: Path, entry: Entry) -> list[Path]:
    return [workdir / results.FOLDER / run["cell"] for run in entry.finished]


def _counts(folder: Path) -> Counts:
    """Of a run; kept in its folder, since the network has to see all of the split."""
    return Counts(**_measured(folder)["counts"])


def _field(folder: Path) -> ReceptiveField:
    return ReceptiveField(**_measured(folder)["receptive_field"])


def _measured(folder: Path) -> dict[str, Any]:
    if (known := results.read(folder, FILE)) is not None:
        return known
    run = load_run(folder)
    source = run.dataset.splits[SPLIT]
    right, total = np.zeros(len(EDGES) - 1, int), np.zeros(len(EDGES) - 1, int)
    for example in (source[index] for index in range(len(source))):
        more_right, more = count(example["label"], run.predict(example["image"]))
        right, total = right + more_right, total + more
    measured: dict[str, Any] = {"counts": {"right": right.tolist(), "total": total.tolist()}}
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


def _summaries(runs: Sequence[Counts]) -> list[Summary]:
    """Accuracy in each bin over runs."""
    return [
        summarize(run.right[i] / run.total[i] if run.total[i] else None for run in runs)
        for i in range(len(EDGES) - 1)
    ]


def _bins() -> list[str]:
    return [f"{low} to {high - 1}" for low, high in itertools.pairwise(EDGES)]


def _markdown(
    title: str,
    entries: Sequence[Entry],
    accuracies: dict[str, list[Summary]],
    fields: Sequence[ReceptiveField],
) -> str:
    rows = [
        [bin_, *(spread(summaries[i], 3) for summaries in accuracies.values())]
        for i, bin_ in enumerate(_bins())
    ]
    parts = [
        f"# {title}: scenes, split {SPLIT}",
        "Share of the pixels that are right, mean ± sample standard deviation (runs), by distance "
        "in pixels from the nearest pixel of the signal, the larger of rows and columns.",
        grid(["distance", *accuracies], rows),
    ]
    parts += [
        f"Run {i} of {entries[0].row.title}: the gradient of a logit reaches "
        f"{'at least ' if field.is_cut else ''}{field.extent} pixels far, and {HELD:.0%} of its "
        f"square lie within {field.effective} pixels."
        for i, field in enumerate(fields, 1)
    ]
    parts.append(grid(["", *ABOUT], [[entry.row.title, *about([entry])] for entry in entries]))
    parts += recipes(entries) + failures(entries)
    return "\n\n".join(parts) + "\n"


def _write_csv(path: Path, accuracies: dict[str, list[Summary]]) -> None:
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "from", "below", "runs", "mean", "spread"])
        for name, summaries in accuracies.items():
            for (low, high), summary in zip(itertools.pairwise(EDGES), summaries, strict=True):
                around = summary.spread if summary.count > 1 else ""
                mean = summary.mean if summary.count else ""
                writer.writerow([name, low, high, summary.count, mean, around])
