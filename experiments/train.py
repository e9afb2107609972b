"""Trains, or goes on: python -m experiments.train --config=configs/NAME.py --workdir=DIR.

After the file's name stand method=NAME, such as supervised or sassn (README.md has all), and
labels=FRACTION or a file of ids, as in --config=configs/scenes.py:method=sassn,labels=1/8. Every
field of configs/common.py is a flag too, as in --config.optimizer.lr=1e-3 or
--config.crop_size='(96, 96)'. The same command goes on with a run that was stopped.
"""

import shlex

from absl import flags
from ml_collections import config_flags

from experiments import command

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/scenes.py:method=sassn,labels=1/8."
)
_WORKDIR = command.define_path(
    "workdir", None, "Folder of this run; made if it is not there.", required=True
)
flags.mark_flag_as_required("config")


def main() -> None:
    """Calls `train_and_evaluate`."""
    from sassn_jax.training.loop import train_and_evaluate  # after the flags: JAX takes seconds

    workdir = command.required(_WORKDIR)
    train_and_evaluate(_CONFIG.value, workdir)
    print(f"score it: python -m experiments.evaluate --workdir={shlex.quote(workdir)}")
    print(f"curves and pictures: tensorboard --logdir={shlex.quote(workdir)}")


if __name__ == "__main__":
    command.run(main, command.TRAINING_GOES_ON)
