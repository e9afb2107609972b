"""G in PyTorch with our weights, as PyTorch runs it fastest."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from sassn_jax.config import ModelConfig
from sassn_jax.methods import Variables
from sassn_jax.models.resnet import ARCHITECTURES

if TYPE_CHECKING:
    import torch


def network_obstacle(model: ModelConfig) -> str | None:
    """Returns why a network cannot be compared with PyTorch's, None if it can."""
    if not importlib.util.find_spec("torch"):
        return "it is not installed (make parity)"
    if jax.default_backend() != "cpu":
        return "its side runs on the CPU, ours does not"
    if model.head != "deeplabv2" or model.auxiliary_head:
        return "its side has the head deeplabv2 only"
    if model.dtype != "float32":
        return "its side is plain: no other model.dtype than float32"
    return None


def make_generator(
    model: ModelConfig, num_classes: int, variables: Variables, memory_format: torch.memory_format
) -> Any:
    """Returns G as a PyTorch module, with the weights and statistics in `variables`."""
    from experiments import torch_reference as reference

    architecture = ARCHITECTURES[model.backbone]
    generator: Any = reference.Generator(
        num_classes,
        stage_sizes=architecture.blocks,
        widths=[architecture.width * 2**stage for stage in range(4)],
        stem_width=architecture.stem,
        rates=model.aspp_rates,
        attention=model.attention,
        qk_reduction=model.qk_reduction,
        norm=model.norm,
        layout=model.layout,
    )
    generator.to(memory_format=memory_format)
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    reference.to_torch(generator, variables["params"], collections)
    return generator


def in_faster_format(
    make: Callable[[torch.memory_format], Callable[[Any], Any]], argument: Any
) -> Callable[[Any], Any]:
    """Returns what `make` gives for the memory format in which its result takes less time.

    Args:
      make: from a memory format to a function.
      argument: of the function.
    """
    import torch

    def seconds_of(run: Callable[[Any], Any]) -> float:
        run(argument)
        began = time.perf_counter()
        run(argument)
        return time.perf_counter() - began

    return min(map(make, (torch.channels_last, torch.contiguous_format)), key=seconds_of)
