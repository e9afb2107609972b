r"""Says what a method's unlabelled images teach, and what they could teach.

    python -m experiments.diagnose --config=configs/few_labels.py:method=cutmix,labels=1/32 \
        --workdir=runs/diagnosis

The images that count as unlabelled must have masks, which are looked at here alone: with masks for
all your images, labels=1/4 hides three quarters of them. Five runs of --config are trained in
--workdir: without unlabelled images; the method; the method, where only pixels teach whose
prediction is right; the method, taught by a network that has seen all labels; and that network.
Runs that are finished are not trained again.

Printed are tables, and a sentence for each finding; docs/unlabelled-images.md says what they mean.
diagnosis.json in that folder holds the same, and what passes the mask at every logged step.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sassn_jax.commands import command
from sassn_jax.terminal import make_console

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the method, labels=1/32.")
_WORKDIR = command.define_path("workdir", None, "Folder of the runs.", required=True)


def main() -> None:
    """Trains the runs that are not finished, and prints what they say."""
    from experiments.diagnosis.diagnosing import diagnose  # after the flags: it takes seconds
    from experiments.diagnosis.tables import show

    workdir = Path(command.required(_WORKDIR))
    console = make_console(soft_wrap=True)
    show(diagnose(_CONFIG.value, workdir), console)
    console.print(f"{workdir / 'diagnosis.json'} has the same, at every logged step")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    command.run(main, command.TRAINING_GOES_ON)
