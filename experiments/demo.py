"""Shows on generated scenes what attention adds, or what images without masks do: `make demo`.

    python -m experiments.demo --seeds=3 --workdir=runs/demo
    python -m experiments.demo --subject=unlabelled --workdir=runs/demo_unlabelled

Trains three networks for each seed, prints a table of their mIoU, and writes DIR/demo.json and
DIR/predictions.png. Runs that are finished are not trained again.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from absl import flags
from rich.table import Table

from configs import demo as demo_config
from configs import few_labels
from sassn_jax.commands import command
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

PICTURED = 4  # test images in the picture
WIDTH = 288  # of an enlarged image in pixels: three times that of a scene


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
      name: also of its folder.
      method: that trains it.
      labels: the share of the masks that it learns from.
    """

    name: str
    method: str
    labels: str


@dataclass(frozen=True)
class Subject:
    """What the demo shows.

    Attributes:
      workdir: the folder of its runs, unless another is given.
      recipe: the module in `configs` with its config.
      rows: the networks that are compared.
    """

    workdir: str
    recipe: ModuleType
    rows: tuple[Row, ...]


SUBJECTS = {
    "attention": Subject(
        "runs/demo",
        demo_config,
        tuple(Row(method, method, "1/8") for method in ("supervised", "advsemiseg", "sassn")),
    ),
    "unlabelled": Subject(
        "runs/demo_unlabelled",
        few_labels,
        (
            Row("supervised", "supervised", "1/32"),
            Row("cutmix", "cutmix", "1/32"),
            Row("all masks", "supervised", "1"),
        ),
    ),
}

_WORKDIR = command.define_path("workdir", "", "Folder of its runs; each subject has its own.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "How many seeds each network is trained with.", 1)
_SUBJECT = flags.DEFINE_enum("subject", "attention", list(SUBJECTS), "What the demo shows.")


def main() -> None:
    """Trains, scores and shows the three networks; skips runs that are finished already."""
    from experiments.pictures import draw_predictions  # after the flags: JAX takes seconds
    from sassn_jax.prediction.run import load_run

    subject = SUBJECTS[_SUBJECT.value]
    workdir = Path(_WORKDIR.value or subject.workdir)
    console = make_console(soft_wrap=True)  # so that a command can be copied whole
    rows = subject.rows
    results = {
        row.name: [_result(subject, row, workdir, seed) for seed in range(_SEEDS.value)]
        for row in rows
    }
    write_json(workdir / "demo.json", results)
    console.print(_table(rows, results))
    picture = workdir / "predictions.png"
    runs = ((row.name, load_run(_folder(workdir, row, 0))) for row in rows)
    draw_predictions(picture, runs, "test", lambda count: range(PICTURED), WIDTH)
    console.print(f"{picture}: input, truth, {', '.join(row.name for row in rows)}")
    console.print(f"Curves and pictures of the training: .venv/bin/tensorboard --logdir={workdir}")


def _folder(workdir: Path, row: Row, seed: int) -> Path:
    return workdir / f"seed{seed}" / row.name.replace(" ", "_")


def _result(subject: Subject, row: Row, workdir: Path, seed: int) -> dict:
    """Trains and scores one run, or reads its result; `seconds` is the time of the last call."""
    from sassn_jax.data.scenes import LOOK_ALIKE
    from sassn_jax.prediction.scoring import evaluate_run
    from sassn_jax.recipes import parse
    from sassn_jax.training.loop import train_and_evaluate
    from sassn_jax.training.workdir import Workdir

    config = subject.recipe.get_config(f"method={row.method},labels={row.labels}")
    config.seed = seed
    folder = _folder(workdir, row, seed)
    Workdir(folder).check(parse(config))
    path = folder / "result.json"
    if path.exists():
        return json.loads(path.read_text())
    began = time.perf_counter()
    train_and_evaluate(config, folder)
    seconds = time.perf_counter() - began
    scores = evaluate_run(folder, "test")
    # These classes have an IoU: the test split has all classes.
    look_alike = float(np.mean([scores["iou"][name] for name in LOOK_ALIKE]))
    result = {"miou": scores["miou"], "look_alike_iou": look_alike, "seconds": seconds}
    write_json(path, result)
    return result


def _table(rows: tuple[Row, ...], results: dict[str, list[dict]]) -> Table:
    seeds = len(results[rows[0].name])
    over = f", mean of {seeds} seeds (spread)" if seeds > 1 else ""
    table = Table(title=f"scenes, test split{over}")
    for name in ("method", "labels", "mIoU", "IoU of the look-alike pair", "seconds"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in rows:
        of_row = results[row.name]
        cells = [_cell([result[key] for result in of_row]) for key in ("miou", "look_alike_iou")]
        seconds = np.mean([result["seconds"] for result in of_row])
        table.add_row(row.method, row.labels, *cells, f"{seconds:.0f}")
    return table


def _cell(values: list[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    command.run(main, command.TRAINING_GOES_ON)
