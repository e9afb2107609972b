r"""Says what a method's unlabelled images teach, and what they could teach.

    python -m experiments.diagnose --config=configs/demo.py:method=cutmix,labels=1/32 \
        --workdir=runs/diagnosis

The images that count as unlabelled must have masks, which are looked at here alone: with masks for
all your images, labels=1/4 hides three quarters of them. Four runs of --config are trained in DIR:
without unlabelled images; the method; the method, where only pixels teach whose prediction is
right; and with all labels. Finished runs are not trained again.

Printed are the mIoU of each on the validation split, and the share of the way from the first run
to the last; what passes the mask, by class; for a method with a D, what D looks at; and how
strongly each term of the objective pulls. DIR/diagnosis.json holds the same.
"""

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.table import Table

from sassn_jax.commands import command
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the method, labels=1/32.")
_WORKDIR = command.define_path("workdir", None, "Folder of the runs.", required=True)


def main() -> None:
    """Trains the runs that are not finished, and prints the tables."""
    import jax  # after the flags: it takes seconds
    import jax.numpy as jnp

    from experiments.diagnosis import runs
    from experiments.diagnosis.players import discriminator_losses, gradient_norms
    from sassn_jax.methods import create
    from sassn_jax.prediction.run import load_run
    from sassn_jax.recipes import parse
    from sassn_jax.training.setup import set_up

    workdir = Path(command.required(_WORKDIR))
    configs = runs.configs(_CONFIG.value)
    folders = {name: workdir / name.replace(" ", "_") for name in configs}
    scores = {name: runs.train(config, folders[name]) for name, config in configs.items()}

    run = load_run(folders[runs.METHOD])
    assert run.state is not None
    batch = jax.tree.map(jnp.asarray, set_up(run.config).batches[run.config.num_steps])
    config = parse(_CONFIG.value)
    method = create(config, run.info.num_classes)
    result: dict[str, Any] = {
        "scores": scores,
        "lessons": list(runs.lessons(folders[runs.METHOD], run.info.class_names)),
        "gradient_norms": gradient_norms(config, run.info.num_classes, run.state, batch),
    }
    if run.state.discriminator is not None:
        result["discriminator"] = discriminator_losses(method, run.state, batch)
    write_json(workdir / "diagnosis.json", result)

    console = make_console(soft_wrap=True)
    console.print(_scores(scores, run.info.class_names))
    for name, title in runs.TITLES.items():
        console.print(f"{name}: {title}")
    console.print(_lessons(result["lessons"]))
    for name in ("discriminator", "gradient_norms"):
        if name in result:
            console.print(_values(name.replace("_", " "), result[name]))
    console.print(f"{workdir / 'diagnosis.json'} has the same")


def _scores(scores: dict[str, Any], classes: tuple[str, ...]) -> Table:
    table = Table("", *scores, title="validation split: mIoU, and IoU by class")
    mious = [run["miou"] for run in scores.values()]
    low, *_, high = mious
    table.add_row("mIoU", *map(_cell, mious))
    if high > low:
        table.add_row("of the way", *(f"{(miou - low) / (high - low):.0%}" for miou in mious))
    for name in classes:
        table.add_row(name, *(_cell(run["iou"][name]) for run in scores.values()))
    return table


def _lessons(lines: list[dict[str, Any]]) -> Table:
    metrics = [name for name in lines[0] if name != "class"]
    headings = ("pixels that teach", "of these right", "recall", "IoU")
    table = Table(
        "class", *headings, title="unlabelled images: at the first logged step, and at the last"
    )
    for line in lines:
        pairs = (" to ".join(map(_cell, line[metric])) for metric in metrics)
        table.add_row(line["class"], *pairs)
    return table


def _values(title: str, values: dict[str, float]) -> Table:
    table = Table(title, "")
    for name, value in values.items():
        table.add_row(name, f"{value:.3g}")
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    command.run(main, command.TRAINING_GOES_ON)
