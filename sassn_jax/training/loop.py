"""The training loop: `train_and_evaluate(config, workdir)` is the program."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from ml_collections import ConfigDict

from sassn_jax import data, processes
from sassn_jax.config import Config
from sassn_jax.errors import InputError, UnfitError
from sassn_jax.files import remove_parts
from sassn_jax.methods import TrainState
from sassn_jax.recipes import override, parse, resolve
from sassn_jax.training.branching import branched, check_state, take_over
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.introduction import introduce_run
from sassn_jax.training.origin import Origin, read_origin
from sassn_jax.training.progress import make_reporter
from sassn_jax.training.setup import Setup, set_up
from sassn_jax.training.stepping import Loop
from sassn_jax.training.stopping import Stopping
from sassn_jax.training.summaries import AnyWriter, NoWriter, Writer
from sassn_jax.training.workdir import Workdir


def train_and_evaluate(
    config: ConfigDict | Config, workdir: str | Path, command: str | None = None
) -> TrainState:
    """Trains what a config describes, or goes on where an earlier call was stopped.

    The same config and seed on the same kind of device give the same bits, interrupted or not.

    Args:
      config: what to train, see `sassn_jax.config.Config` and `sassn_jax.default_config`.
      workdir: a folder for this run alone; `Workdir` says what is in it afterwards.
      command: by which a user began the run, which a report on it repeats.

    Returns:
      The state after `config.num_steps` steps.

    Raises:
      InputError: if something that the user gave is wrong. Nothing has been written then but
        records of own images, with three exceptions that show later: a folder from which no
        checkpoint can be read back (before the first step), a label that no class has (when its
        image is first read), and more images that cannot be read than `config.max_unreadable`.
      TrainingError: if the updates of a network are skipped again and again, see `Skips`.
      StoppedError: if SIGTERM, SIGINT or SIGHUP came and the main thread called; see `Stopping`.
    """
    return _train(parse(config), Workdir.at(workdir), command=command)


def is_finished(config: ConfigDict | Config, workdir: str | Path) -> bool:
    """Tells whether a folder holds the run of a config after its last step; builds nothing.

    Of several processes, all must call this, and all get the same answer.

    Raises:
      InputError: if the folder holds another run, or a value is wrong.
    """
    folder = Workdir.at(workdir)
    if not processes.everywhere(folder.config.exists()):
        return False
    config, _ = resolve(parse(config))
    folder.check(config, may_be_longer=True)
    with Checkpoints(folder, read_only=True) as checkpoints:
        latest = checkpoints.latest_step
        if not processes.everywhere(latest == config.num_steps) or latest is None:
            return False
        # If it is damaged, the run is not finished: training on saves it anew.
        is_whole = checkpoints.stored(latest).is_whole()
        return is_whole and processes.everywhere(checkpoints.is_scored(latest))


def continue_training(
    workdir: str | Path, continue_to: int, overrides: Mapping[str, Any] = MappingProxyType({})
) -> TrainState:
    """Trains the run in a folder on, to more steps than its config says.

    All else stays as it is in the folder's config. A schedule that depends on the number of steps,
    such as the poly schedule of the learning rates, is from now on that of a run of `continue_to`
    steps: it begins again above the 0 at which it had ended. The result is not that of a run which
    had so many steps from the start.

    Args:
      workdir: of the run, which need not be finished.
      continue_to: the number of all its steps.
      overrides: other values of fields of its config that do not change the result, by dotted name,
        such as `data_dir` for data that have moved.

    Returns:
      The state after `continue_to` steps.

    Raises:
      InputError: if there is no run, or it has more steps already, or a value is wrong.
      TrainingError: if the updates of a network are skipped again and again, see `Skips`.
      StoppedError: as for `train_and_evaluate`.
    """
    config = longer_config(workdir, continue_to, overrides)
    return _train(config, Workdir.at(workdir), may_be_longer=True)


def longer_config(workdir: str | Path, continue_to: int, overrides: Mapping[str, Any]) -> Config:
    """Returns the config by which `continue_training` goes on; arguments and errors as there."""
    folder = Workdir.at(workdir)
    stored = folder.read_config()
    if continue_to < stored.num_steps:
        raise InputError(
            f"continue_to={continue_to}: expected at least the {stored.num_steps} steps that the "
            f"run in {folder.path} has"
        )
    return override(stored, {**overrides, "num_steps": continue_to})


def branch_off(
    origin: Origin,
    workdir: str | Path,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    command: str | None = None,
) -> TrainState:
    """Trains a new run that continues another one from one of its checkpoints, with all its state.

    The networks, their optimizers and the position in the data are those of the checkpoint. The
    config is that of the other run but for the overrides. The other run is left as it is.

    Args:
      origin: the checkpoint, see `find_origin`.
      workdir: of the new run; or of one that this has begun, which then goes on.
      overrides: values of fields of the config, by dotted name.
      command: as for `train_and_evaluate`.

    Returns:
      The state after `num_steps` steps, counted from the start of the other run.

    Raises:
      InputError: if a value is wrong, or the state or the data depend on the field.
      TrainingError: if the updates of a network are skipped again and again, see `Skips`.
      StoppedError: as for `train_and_evaluate`.
    """
    config, origin = branched(origin, overrides)
    return _train(config, Workdir.at(workdir), command=command, origin=origin)


def _train(
    config: Config,
    folder: Workdir,
    *,
    may_be_longer: bool = False,
    command: str | None = None,
    origin: Origin | None = None,
) -> TrainState:
    setup = set_up(config)
    config = setup.config
    _check(setup, folder, origin, may_be_longer=may_be_longer)
    pretrained = setup.method.generator.pretrained_parts(config.crop_size)
    folder.path.mkdir(parents=True, exist_ok=True)
    with (
        folder.occupied() if processes.is_first() else contextlib.nullcontext(),
        Checkpoints(folder, keep=config.keep) as checkpoints,
        make_reporter(folder.path.resolve().name, config.num_steps) as reporter,
        contextlib.closing(setup.batches),
    ):
        with processes.first_before_others("workdir"):
            _begin(setup, folder, command, origin)
        # A host's view of a shared folder may be old.
        processes.check_alike({"list of checkpoints": str(checkpoints.steps)})
        latest, origin = checkpoints.latest_step, read_origin(folder)
        start = latest or (origin.step if origin else 0)
        for line in introduce_run(setup, folder, start, pretrained):
            reporter.say(line)
        state = setup.initial_state()
        if latest is not None:
            state = checkpoints.restore_latest(state, setup.batches, reporter.say)
            start = int(state.step)  # an earlier one where the latest is damaged
        elif origin is not None:
            state = take_over(origin, state, setup.batches, checkpoints)
        else:
            # Before the first step, so that a folder from which nothing can be restored costs none.
            checkpoints.save(state, setup.batches, None)
        if start < config.num_steps:
            reporter.say(checkpoints.space)
        stopping = Stopping(reporter.say)
        opened: AnyWriter = NoWriter()
        if processes.is_first():
            opened = Writer(folder, start, reporter.say)
        with opened as writer, stopping.listening():
            writer.config(start, config)
            loop = Loop(setup, folder, writer, reporter, checkpoints, stopping)
            state = loop.run(state, start)
            writer.finish(config.num_steps)
            return state


def _check(setup: Setup, folder: Workdir, origin: Origin | None, *, may_be_longer: bool) -> None:
    """Checks what a run is to begin or go on with, before anything is written in its folder."""
    folder.check(setup.config, may_be_longer=may_be_longer)
    folder.check_data(setup.split, setup.dataset.info)
    if origin is not None:
        origin.check(folder)
        Workdir(origin.workdir).check_data(setup.split, setup.dataset.info)
        if not folder.config.exists():
            check_state(origin, setup)
    own = {"data_dir": "", "source": "", "loader_workers": 0}  # may be another on each host
    processes.check_alike(
        {
            "config": json.dumps({**setup.config.to_dict(), **own}),
            "workdir": str(folder.path.resolve()),
            "dataset": repr((setup.split, setup.dataset.info.class_names)),
            "version of JAX": jax.__version__,
        }
    )


def _begin(setup: Setup, folder: Workdir, command: str | None, origin: Origin | None) -> None:
    """Writes what a run begins with, in the first process."""
    if not processes.is_first():
        if not folder.config.exists():
            raise UnfitError(
                f"{folder.path}: what process 0 has written there is not to be seen by process "
                f"{jax.process_index()}; expected a folder on a file system that all hosts share"
            )
        return
    if origin is not None:
        origin.write(folder)
    remove_parts(folder.path)
    folder.begin(setup.config, setup.split, setup.dataset.info, command)
    if setup.config.dataset == "folder":
        ids = {split: source.ids for split, source in setup.dataset.splits.items()}
        data.write_lists(folder.lists, ids)
