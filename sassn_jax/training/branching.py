"""A new run that continues another one from one of its checkpoints."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sassn_jax import methods, processes
from sassn_jax.config import Config
from sassn_jax.data import BatchIterator
from sassn_jax.errors import InputError
from sassn_jax.files import expanded
from sassn_jax.methods import TrainState
from sassn_jax.recipes import override
from sassn_jax.training.binding import binding
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.origin import Origin
from sassn_jax.training.setup import Setup, abstract_state
from sassn_jax.training.workdir import Workdir

LATEST, BEST, HEALTHY = "latest", "best", "healthy"
# Fields, and groups of them, that the arrays of a state or its position in the data depend on.
FIXED = {
    "method", "dataset", "labels", "unlabeled", "seed", "batch_size", "model", "image",
    "optimizer.name",
}  # fmt: skip


def find_origin(text: str, begun: Origin | None = None) -> Origin:
    """Returns the checkpoint that `WORKDIR@STEP` names.

    Args:
      text: the workdir of a run, `@`, and a number of steps, `latest`, `best` or `healthy`. The
        workdir alone stands for its latest checkpoint that is whole.
      begun: the checkpoint that the new run began from, if it has begun before. It is returned if
        it can be the one that is named, also if the other run has gone on and deleted it since.

    Raises:
      InputError: if there is no such checkpoint, or it is damaged.
    """
    path, at, wanted = text.rpartition("@")
    if not at or expanded(text).is_dir():
        path, wanted = text, LATEST
    names = (LATEST, BEST, HEALTHY)
    if not path:  # which would be the current folder
        raise InputError(
            f"from={text!r}: expected WORKDIR@STEP, where WORKDIR is the folder of a run, and STEP "
            f"a number of steps, {', '.join(names)}"
        )
    folder = Workdir(expanded(path).absolute())
    folder.read_config()
    is_begun = begun and begun.workdir == folder.path and wanted in (*names, str(begun.step))
    if processes.everywhere(bool(is_begun)) and begun:
        return Origin(folder.path, begun.step)
    with Checkpoints(folder, read_only=True) as checkpoints:
        steps = checkpoints.steps
        if wanted in (BEST, HEALTHY):
            step = checkpoints.best_step if wanted == BEST else checkpoints.healthy_step()
        else:
            step = int(wanted) if wanted.isdecimal() else None
        # Before they are read by all processes together.
        processes.check_alike({f"list of checkpoints in {folder.path}": f"{steps} {step}"})
        if wanted == LATEST:
            whole = (step for step in reversed(steps) if checkpoints.stored(step).is_whole())
            step = next(whole, None)
        elif step in steps and not checkpoints.stored(step).is_whole():
            raise InputError(f"from={text!r}: {folder.checkpoints / str(step)} is damaged")
    if step not in steps:
        there = ", ".join(map(str, steps)) or "none"
        raise InputError(
            f"from={text!r}: no such checkpoint; expected WORKDIR@STEP, where STEP is one of "
            f"{there} in {folder.checkpoints}, or {LATEST}, {BEST} or {HEALTHY} where there is one"
        )
    return Origin(folder.path, step)


def branched(origin: Origin, overrides: Mapping[str, Any]) -> tuple[Config, Origin]:
    """Returns the config of a run that continues another one, and the origin with its changes.

    Raises:
      InputError: if a value is wrong, or if the state or the data depend on the field.
    """
    stored = Workdir(origin.workdir).read_config()
    config = override(stored, overrides)
    before, now = binding(stored), binding(config)
    for name in now:
        if now[name] != before[name] and FIXED & {name, name.partition(".")[0]}:
            raise InputError(
                f"{name}={now[name]!r}: expected {before[name]!r}, as in {origin.workdir}; the "
                "networks, optimizers and data of a run that goes on are those of its checkpoint"
            )
    if config.num_steps <= origin.step:
        raise InputError(
            f"num_steps={config.num_steps}: expected more than the {origin.step} steps that have "
            f"been taken at {origin}, from which the new run counts on; to train it until step N, "
            "add --config.num_steps=N"
        )
    changes = {name: now[name] for name in now if now[name] != before[name]}
    return config, dataclasses.replace(origin, changes=changes)


def check_state(origin: Origin, setup: Setup) -> None:
    """Checks that a run which is to go on from a checkpoint has the networks and optimizers there.

    Raises:
      InputError: naming the first array that is of another shape, or in one of the two only.
    """
    config = override(setup.config, {"model.weights": ""})  # which are not needed
    info = setup.dataset.info
    method = methods.create(config, info.num_classes, info.ignore_label)
    with Checkpoints(Workdir(origin.workdir), read_only=True) as others:
        others.stored(origin.step).check_network(abstract_state(method, config))


def take_over(
    origin: Origin, state: TrainState, batches: BatchIterator, checkpoints: Checkpoints
) -> TrainState:
    """Restores a state from the checkpoint of another run, and saves it as the first of this one.

    Args:
      origin: the checkpoint.
      state: arrays as they are to be.
      batches: are moved to the position of the state.
      checkpoints: of this run.
    """
    with Checkpoints(Workdir(origin.workdir), read_only=True) as others:
        state = others.restore(state, origin.step, batches)
        record = others.record(origin.step)
    checkpoints.save(state, batches, record.miou, record.unlogged, record.fault)
    return state


def way_on(workdir: Path, step: int | None) -> str:
    """Says in a sentence how a run that has gone bad is continued in another workdir.

    Args:
      workdir: of the run.
      step: of its last healthy checkpoint before it went bad, None if there is none.
    """
    if step is None:
        return "There is no healthy checkpoint from before it; begin anew in another workdir"
    source = shlex.quote(f"{workdir}@{step}")
    return (
        f"The last healthy checkpoint from before it is that of step {step}; to go on from there: "
        f"sassn train --from={source} --workdir=NEW --config.FIELD=VALUE"
    )
