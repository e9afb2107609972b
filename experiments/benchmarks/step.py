"""The time of a training step, ours and PyTorch's.

If PyTorch is installed, the same networks and losses run in it too. The two take turns, step by
step, so that their ratio also holds on a busy machine.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import time_in_turn
from experiments.benchmarks.torch_network import (
    in_faster_format,
    make_generator,
    network_obstacle,
)
from sassn_jax.config import Config
from sassn_jax.methods import METHODS
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.supervised import Supervised
from sassn_jax.recipes import parse
from sassn_jax.training import parallel
from sassn_jax.training.setup import set_up

WARM_UP = 2  # steps before the clock runs


def benchmark_step(config: Any, steps: int) -> dict[str, Any]:
    """Times training steps, with unlabelled images if the method uses any.

    Args:
      config: as for `train_and_evaluate`.
      steps: how many to time, after a few that are not timed.

    Returns:
      For `ours` and, if it can be compared, `torch`: the median time of a step in seconds, and
      images per second; for ours also the time of compilation and the memory of the compiled step.
      `ratio` is our time over PyTorch's.
    """
    setup = set_up(parse(config))
    config = setup.config
    state = setup.initial_state()
    first = setup.method.unlabeled_from or 0
    batches = setup.batches
    batches.seek(first)
    host_batch = setup.batches[first]
    batch = parallel.put_batch(host_batch, setup.mesh)
    obstacle = torch_obstacle(config, has_unlabeled="unlabeled" in host_batch)
    theirs = None if obstacle else _torch_step(config, setup, state, host_batch)

    began = time.perf_counter()
    jitted = parallel.jit_step(setup.method, setup.mesh, setup.state_shardings(state))
    step = jitted.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - began

    def ours(batch: Any) -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, parallel.put_batch(batch, setup.mesh)))

    # Without PyTorch in between: as in training, the loader has only the time of our step.
    waits, steps_alone = [], []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        host_batch = next(batches)
        fetched = time.perf_counter()
        ours(host_batch)
        waits.append(fetched - began)
        steps_alone.append(time.perf_counter() - fetched)
    batches.close()
    waits, steps_alone = waits[WARM_UP:], steps_alone[WARM_UP:]

    calls = {"ours": functools.partial(ours, host_batch)}
    if theirs:
        calls["torch"] = functools.partial(theirs, host_batch)
    seconds = time_in_turn(calls, WARM_UP, steps)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    images = config.batch_size * len(batch)
    result: dict[str, Any] = {
        name: {"step_seconds": median, "images_per_second": images / median}
        for name, median in medians.items()
    }
    memory: Any = step.memory_analysis()
    result["ours"] |= {
        "input_wait_seconds": float(np.mean(waits)),
        "compile_seconds": compile_seconds,
        "peak_bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
    }
    result["input_wait_share"] = sum(waits) / (sum(waits) + sum(steps_alone))
    if obstacle is None:
        result["ratio"] = medians["ours"] / medians["torch"]
    else:
        result["not_compared"] = obstacle
    return result


# Fields of `LossWeights` that the side of PyTorch does not have; see `torch_obstacle`.
NOT_COMPARED = ("adv_from_start", "exclude_filled", "semi_confidence", "semi_mixed")


def torch_obstacle(config: Config, *, has_unlabeled: bool) -> str | None:
    """Returns why the step cannot be compared with PyTorch's, None if it can."""
    if METHODS[config.method] not in (Supervised, Adversarial):
        return "its side has the paper's methods only, such as supervised and sassn"
    if obstacle := network_obstacle(config.model):
        return obstacle
    if config.optimizer.name != "sgd":
        return "its side has the optimizer sgd only (--config.optimizer.name=sgd)"
    if config.method != "supervised":
        loss = config.settings_of(LossWeights)
        if loss.adv_from_start:
            return "its side takes unlabelled images from loss.semi_start on (no adv_from_start)"
        if loss.exclude_filled:
            return "its side takes all pixels of unlabelled images (no loss.exclude_filled)"
        if loss.semi_mixed or loss.semi_confidence:
            return "its side has equation (4) as in the paper (no semi_mixed, no semi_confidence)"
        if loss.semi_start >= config.num_steps:
            return "its side wants a step with unlabelled images (loss.semi_start below num_steps)"
        if not has_unlabeled:
            return "its side wants unlabelled images (labels below 1)"
    if config.model.remat or config.accumulation > 1:
        return "its side is plain: no model.remat, no accumulation"
    if config.augment.paste:
        return "its side takes images as they come (no augment.paste)"
    return None


def _torch_step(config: Config, setup: Any, state: Any, batch: Any) -> Callable[[Any], None]:
    """Returns the same step in PyTorch, from the same weights, in the faster memory format."""
    import torch

    from experiments import torch_reference as reference

    model, loss = config.model, dataclasses.asdict(config.settings_of(LossWeights))
    num_classes = setup.dataset.info.num_classes
    settings = reference.Settings(
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
        new_layers_factor=config.optimizer.new_layer_multiplier,
        discriminator_learning_rate=config.optimizer.discriminator_lr,
        discriminator_betas=config.optimizer.discriminator_betas,
        poly_power=config.optimizer.poly_power,
        **{name: loss[name] for name in loss if name not in NOT_COMPARED},
    )

    def make_step(memory_format: torch.memory_format) -> Callable[[Any], None]:
        variables = state.generator.variables
        generator = make_generator(model, num_classes, variables, memory_format)
        discriminator: Any = None
        if (ours := state.discriminator) is not None:
            discriminator = reference.Discriminator(num_classes, spectral_norm=model.spectral_norm)
            discriminator.to(memory_format=memory_format)
            reference.to_torch(discriminator, ours.params, ours.collections)
        players = reference.make_players(generator, discriminator, settings)

        def to_tensor(name: str, array: np.ndarray) -> torch.Tensor:
            tensor = torch.from_numpy(array)
            if name == "image":
                return tensor.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            return tensor.long()

        def step(batch: Any) -> None:
            tensors = {
                half: {name: to_tensor(name, array) for name, array in arrays.items()}
                for half, arrays in batch.items()
            }
            reference.train_step(players, tensors, settings, loss["semi_start"])

        return step

    return in_faster_format(make_step, batch)
