"""Trains a network, or goes on: sassn train --config=FILE.py --workdir=DIR.

    sassn train --config=configs/scenes.py:method=sassn,labels=1/8 --workdir=runs/scenes
    sassn train --continue_to=3000 --workdir=runs/scenes

In a checkout, `python -m experiments.train` is the same command. FILE.py has a function get_config
that returns a config, such as one of sassn_jax.default_config. Text after a colon is its argument:
those in the checkout's configs/ take method=NAME, such as supervised or sassn (docs/training.md
lists all), and labels=FRACTION or a file of ids, as in the first line above. For a folder of your
own images/ and labels/: --config=configs/folder.py:path=FOLDER,method=sassn.
Every field of the config is a flag too, as in --config.optimizer.lr=1e-3 or
--config.crop_size='(96, 96)'. The same command goes on with a run that was stopped.

--continue_to=N goes on with the run in --workdir, by the config that is stored there, until N steps
have been taken. From there on the learning rates are those of a run of N steps. If the data have
moved since, --data_dir says where they are; --config.source, where your own images are.

--from=OTHER@STEP begins a new run in --workdir that goes on from a checkpoint of the run in OTHER,
with all of its state, and by its config but for the fields that are given:

    sassn train --from=runs/scenes@300 --workdir=runs/again --config.optimizer.lr=1e-3

STEP is the number of a folder in OTHER/checkpoints, latest, best or healthy.
"""

import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import get_override_values

from sassn_jax.commands import command
from sassn_jax.errors import InputError
from sassn_jax.files import expanded


def run() -> None:
    """Runs the command."""
    # A run that goes on has its config. What has moved since can be given as with --config.
    goes_on = _is_given("continue_to") and not _is_given("config")
    branches = _is_given("from") and not _is_given("config")
    if branches or goes_on:
        # It imports JAX, as a config file does. A Ctrl-C meanwhile ends the process without a word
        # here; later it would be an error of the import.
        from sassn_jax.recipes import default_config

        moved = ConfigDict({"data_dir": "", "source": ""})
        config = command.define_config(default_config() if branches else moved)
    else:
        config = config_flags.DEFINE_config_file(
            "config", None, "Config file, such as configs/scenes.py:method=sassn,labels=1/8."
        )
    workdir = command.define_path(
        "workdir", None, "Folder of this run; made if it is not there.", required=True
    )
    continue_to = flags.DEFINE_integer(
        "continue_to", None, "In place of --config: the number of steps that the run is to reach."
    )
    origin = flags.DEFINE_string(
        "from", None, "In place of --config: WORKDIR@STEP, a checkpoint of another run."
    )
    data_dir = command.define_path(
        "data_dir", None, "Folder of the dataset, in place of the config's."
    )

    def train() -> None:
        from sassn_jax import processes  # imports JAX, which takes seconds

        with processes.joined():
            train_here()

    def train_here() -> None:
        folder = command.required(workdir)
        moved = {"data_dir": data_dir.value} if data_dir.value else {}
        for flag in (continue_to, origin):
            if flag.value is not None and _is_given("config"):
                raise InputError(
                    f"{flag.name}={flag.value}: expected without --config; the workdir has the "
                    "run's"
                )
        if origin.value is not None and continue_to.value is not None:
            raise InputError(
                f"continue_to={continue_to.value}: expected without --from, or with the workdir of "
                "the new run once it has begun; with --from, --config.num_steps is the number of "
                "steps"
            )
        if origin.value is not None:
            overrides = get_override_values(flags.FLAGS[config.name])
            _branch_off(origin.value, folder, {**overrides, **moved})
        elif continue_to.value is not None:
            overrides = get_override_values(flags.FLAGS[config.name])
            _continue(continue_to.value, folder, {**overrides, **moved})
        elif config.value is None:
            raise InputError("--config: not given; see --help")
        else:
            with config.value.unlocked():
                config.value.update(moved)
            _train(config.value, folder)
        print(f"score it: sassn evaluate --workdir={shlex.quote(folder)}")
        print(f"curves and pictures: tensorboard --logdir={shlex.quote(folder)}")

    command.run(train, command.TRAINING_GOES_ON)


def _is_given(flag: str) -> bool:
    return any(re.match(rf"--?{flag}(=|$)", word) for word in sys.argv[1:])


def _train(config: ConfigDict, workdir: str) -> None:
    from sassn_jax import processes
    from sassn_jax.recipes import parse
    from sassn_jax.training.loop import is_finished, train_and_evaluate

    typed = parse(config)
    if is_finished(typed, workdir):
        _say_finished(workdir, typed.num_steps)
        return
    with processes.first_before_others("prepared"):  # all, even those whose host has no `source`
        if typed.source and expanded(typed.source).exists():
            _prepare(typed)
    train_and_evaluate(config, workdir, shlex.join(["sassn", "train", *sys.argv[1:]]))


def _continue(continue_to: int, workdir: str, overrides: Mapping[str, Any]) -> None:
    from sassn_jax.training.loop import continue_training, is_finished, longer_config

    if is_finished(longer_config(workdir, continue_to, overrides), workdir):
        _say_finished(workdir, continue_to)
        return
    continue_training(workdir, continue_to, overrides)


def _branch_off(text: str, workdir: str, overrides: Mapping[str, Any]) -> None:
    from sassn_jax.training.branching import branched, find_origin
    from sassn_jax.training.loop import branch_off, is_finished
    from sassn_jax.training.origin import read_origin
    from sassn_jax.training.workdir import Workdir

    origin = find_origin(text, read_origin(Workdir.at(workdir)))
    config, _ = branched(origin, overrides)
    if is_finished(config, workdir):
        _say_finished(workdir, config.num_steps)
        return
    branch_off(origin, workdir, overrides, shlex.join(["sassn", "train", *sys.argv[1:]]))


def _say_finished(workdir: str, num_steps: int) -> None:
    print(f"{workdir}: all {num_steps} steps have been taken")


def _prepare(config: Any) -> None:
    """Prepares the images of a typed config where they have changed; prints what they hold."""
    from sassn_jax import data
    from sassn_jax.commands.prepare import show_prepared
    from sassn_jax.data import folder_places

    name, source, data_dir, limits = config.dataset, config.source, config.data_dir, config.files
    with command.progress(f"preparing {source}") as show:
        wrote = data.prepare(name, source, data_dir, show, limits)
    if wrote:
        show_prepared(name, str(folder_places.place(source, data_dir)), limits=limits)
