"""Shows the gain of attention and spectral normalization on generated scenes: `make demo`.

    python -m experiments.demo --seeds=3 --workdir=runs/demo

Trains three methods for each seed, prints a table of their mIoU, and writes DIR/demo.json and
DIR/predictions.png. Runs that are finished are not trained again.
"""

import json
import time
from pathlib import Path

import numpy as np
from absl import flags
from rich.table import Table

from configs import demo as demo_config
from sassn_jax.commands import command
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

METHODS = ("supervised", "advsemiseg", "sassn")
LABELS = "1/8"
PICTURED = 4  # test images in the picture
WIDTH = 288  # of an enlarged image in pixels: three times that of a scene

_WORKDIR = command.define_path("workdir", "runs/demo", "Folder of the demo's runs.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "How many seeds each method is trained with.", 1)


def main() -> None:
    """Trains, scores and shows the three methods; skips runs that are finished already."""
    from experiments.pictures import draw_predictions  # after the flags: JAX takes seconds
    from sassn_jax.prediction.run import load_run

    workdir = Path(_WORKDIR.value)
    console = make_console(soft_wrap=True)  # so that a command can be copied whole
    rows = [
        [_result(workdir / f"seed{seed}" / method, method, seed) for seed in range(_SEEDS.value)]
        for method in METHODS
    ]
    write_json(workdir / "demo.json", dict(zip(METHODS, rows, strict=True)))
    console.print(_table(rows))
    picture = workdir / "predictions.png"
    runs = ((method, load_run(workdir / "seed0" / method)) for method in METHODS)
    draw_predictions(picture, runs, "test", lambda count: range(PICTURED), WIDTH)
    console.print(f"{picture}: input, truth, {', '.join(METHODS)}")
    console.print(f"Curves and pictures of the training: .venv/bin/tensorboard --logdir={workdir}")


def _result(workdir: Path, method: str, seed: int) -> dict:
    """Trains and scores one run, or reads its result; `seconds` is the time of the last call."""
    from sassn_jax.data.scenes import LOOK_ALIKE
    from sassn_jax.prediction.scoring import evaluate_run
    from sassn_jax.recipes import parse
    from sassn_jax.training.loop import train_and_evaluate
    from sassn_jax.training.workdir import Workdir

    config = demo_config.get_config(f"method={method},labels={LABELS}")
    config.seed = seed
    Workdir(workdir).check(parse(config))
    path = workdir / "result.json"
    if path.exists():
        return json.loads(path.read_text())
    began = time.perf_counter()
    train_and_evaluate(config, workdir)
    seconds = time.perf_counter() - began
    scores = evaluate_run(workdir, "test")
    # These classes have an IoU: the test split has all classes.
    look_alike = float(np.mean([scores["iou"][name] for name in LOOK_ALIKE]))
    result = {"miou": scores["miou"], "look_alike_iou": look_alike, "seconds": seconds}
    write_json(path, result)
    return result


def _table(rows: list[list[dict]]) -> Table:
    seeds = len(rows[0])
    over = f", mean of {seeds} seeds (spread)" if seeds > 1 else ""
    table = Table(title=f"scenes, {LABELS} of the labels, test split{over}")
    for name in ("method", "mIoU", "IoU of the look-alike pair", "seconds"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, results in zip(METHODS, rows, strict=True):
        cells = [_cell([result[key] for result in results]) for key in ("miou", "look_alike_iou")]
        seconds = np.mean([result["seconds"] for result in results])
        table.add_row(method, *cells, f"{seconds:.0f}")
    return table


def _cell(values: list[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    command.run(main, command.TRAINING_GOES_ON)
