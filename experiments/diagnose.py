r"""Says what a method's unlabelled images teach, and what they could teach.

    python -m experiments.diagnose --config=configs/demo.py:method=cutmix,labels=1/32 \
        --workdir=runs/diagnosis

The images that count as unlabelled must have masks, which are looked at here alone: with masks for
all your images, labels=1/4 hides three quarters of them. Five runs of --config are trained in DIR:
without unlabelled images; the method; the method, where only pixels teach whose prediction is
right; the method, taught by a network that has seen all labels; and that network. Runs that are
finished are not trained again.

Printed are tables, and a sentence for each finding; docs/health.md says what they mean.
DIR/diagnosis.json holds the same, and what passes the mask at every logged step.
"""

from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from sassn_jax.commands import command
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the method, labels=1/32.")
_WORKDIR = command.define_path("workdir", None, "Folder of the runs.", required=True)


def main() -> None:
    """Trains the runs that are not finished, and prints what they say."""
    from experiments.diagnosis import runs  # after the flags: it takes seconds
    from experiments.diagnosis.tables import tables

    workdir = Path(command.required(_WORKDIR))
    result = _diagnose(workdir)
    write_json(workdir / "diagnosis.json", result)

    console = make_console(soft_wrap=True)
    for table in tables(result):
        console.print(table)
    for name, title in runs.TITLES.items():
        console.print(f"{name}: {title}")
    console.print()
    for verdict in result["verdicts"]:
        console.print(f"- {verdict}")
    console.print(f"{workdir / 'diagnosis.json'} has the same, at every logged step")


def _diagnose(workdir: Path) -> dict[str, Any]:
    """Returns what `diagnosis.json` holds."""
    import jax
    import jax.numpy as jnp

    from experiments.diagnosis import runs, shares
    from experiments.diagnosis.players import discriminator_losses, gradient_norms
    from experiments.diagnosis.verdicts import verdicts
    from sassn_jax.prediction.run import load_run
    from sassn_jax.recipes import parse
    from sassn_jax.training.setup import set_up
    from sassn_jax.training.workdir import Workdir

    scores = runs.train_all(_CONFIG.value, workdir)
    folder = runs.folder_of(workdir, runs.METHOD)
    run = load_run(folder)
    assert run.state is not None
    batch = jax.tree.map(jnp.asarray, set_up(run.config).batches[run.config.num_steps])
    classes = run.info.class_names
    result: dict[str, Any] = {
        "scores": scores,
        "of_the_way": runs.ways(scores),
        "over_time": shares.read(Workdir(folder).read_rows(), classes),
        "average_and_raw": runs.average_and_raw(run),
        "gradient_norms": gradient_norms(parse(_CONFIG.value), len(classes), run.state, batch),
    }
    if run.state.discriminator is not None:
        result["discriminator"] = discriminator_losses(run.method, run.state, batch)
    return result | {"verdicts": verdicts(result)}


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    command.run(main, command.TRAINING_GOES_ON)
