"""The operation that first gave NaN, found by taking a step operation by operation."""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sassn_jax import methods
from sassn_jax.errors import TrainingError
from sassn_jax.methods import Method, TrainState
from sassn_jax.training.skips import PREFIX, reason

ROOT = Path(__file__).parents[2]
PACKAGES = ("sassn_jax", "pallas_kernels")  # below it

Step = Callable[[TrainState, methods.Batch], tuple[TrainState, Any]]


def debugged(step: Step, method: Method) -> Step:
    """Returns a step that ends the run at the first update that is skipped.

    It waits for each step, and keeps a copy of the state that the step begins with.

    Args:
      step: the method's, compiled.
      method: whose step it is.

    Returns:
      A function that raises `TrainingError`. The message names the operation, and the line of this
      package that it stands in.
    """

    def take(state: TrainState, batch: methods.Batch) -> tuple[TrainState, Any]:
        before = jax.tree.map(lambda x: x.copy(), state)  # the step takes over the state's memory
        new, metrics = step(state, batch)
        numbers = jax.device_get(metrics)
        skipped = [name for name in numbers if name.startswith(PREFIX) and numbers[name]]
        if skipped:
            number = reason(skipped[0].removeprefix(PREFIX), numbers)
            with jax.transfer_guard("allow"):
                found = find_operation(method, before, batch)
            raise TrainingError(f"step {int(jax.device_get(before.step)) + 1}: {number}. {found}")
        return new, metrics

    return take


def find_operation(method: Method, state: TrainState, batch: methods.Batch) -> str:
    """Takes a step of a method operation by operation, until one gives NaN.

    Args:
      method: whose step it is.
      state: before the step.
      batch: of the step.

    Returns:
      A sentence that names the operation, or says why none is found.
    """
    halves: Mapping[str, Any] = batch
    if not all(jnp.isfinite(half["image"]).all() for half in halves.values()):
        return "No operation is to blame: the images of the batch are not finite"
    try:
        with jax.disable_jit(), jax.debug_nans(True):
            method.step(state, method.generator.augment(state, batch))
    except FloatingPointError as error:
        return _describe(error)
    return (
        "No single operation gives NaN: a number has become too large for float32, which most "
        "often comes of a high learning rate"
    )


def _describe(error: FloatingPointError) -> str:
    """Says which operation an error of JAX is of: its words end with the operation's name."""
    name = str(error).rpartition(" ")[2]
    origin = error.__cause__  # of a gradient: where the operation stands that it is the gradient of
    what = "The gradient of an operation" if origin else "An operation"
    frames = traceback.extract_tb((origin or error).__traceback__)
    place = next(frame for frame in reversed(frames) if _is_own(frame.filename))
    path = Path(place.filename).relative_to(ROOT)
    line = f"{path}, line {place.lineno}, in {place.name}: {place.line}"
    return f"{what} gives NaN, by `{name}`: {line}"


def _is_own(file: str) -> bool:
    return any(Path(file).is_relative_to(ROOT / package) for package in PACKAGES)
