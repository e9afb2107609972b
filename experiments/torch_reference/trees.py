"""Weights from our parameter trees into PyTorch's modules and back.

The submodules have the names in our trees, so the path of an array leads to its counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor, nn

Tree = Mapping[str, Any]
NAMES = {
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
    "u": "weight_u",
    "v": "weight_v",
}


def to_torch(module: nn.Module, params: Tree, collections: Tree) -> None:
    """Copies our parameters and collections into `module`, in place.

    Args:
      module: built with the same architecture.
      params: a tree as the JAX module's `params`.
      collections: `batch_stats` (mean, var) and `spectral` (u, v), or neither.

    Raises:
      AttributeError: for an array of ours that the module does not have.
      ValueError: for an array of another shape, or one of the module that we do not have.
    """
    missing = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    for path, value in jax.tree.leaves_with_path((params, *collections.values())):
        names, owner, tensor = _counterpart(module, path[1:])
        array = np.asarray(value)
        if names[-1] == "kernel":
            array = array.transpose(3, 2, 0, 1)  # HWIO -> OIHW
        elif names[-1] == "v":
            _, inputs, height, width = owner.get_parameter("weight_orig").shape
            array = array.reshape(height, width, inputs).transpose(2, 0, 1).reshape(-1)
        if array.shape != tuple(tensor.shape):
            raise ValueError(f"{names}: torch has {tuple(tensor.shape)}, we {array.shape}")
        tensor.data.copy_(torch.from_numpy(array.copy()))
        missing.pop(id(tensor))
    left = [name for name in missing.values() if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"torch has arrays that we do not: {left}")


def from_torch(module: nn.Module, tree: Tree, *, gradients: bool = False) -> dict[str, Any]:
    """Returns the arrays of `module`, or their gradients, as NumPy arrays in our layout.

    Args:
      module: as given to `to_torch`.
      tree: `params` or a collection of ours; the result has its structure.
      gradients: return gradients instead, zeros for a parameter without one.
    """

    def take(path: tuple, _: Any) -> np.ndarray:
        names, owner, tensor = _counterpart(module, path)
        if gradients:
            tensor = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        array = tensor.detach().cpu().numpy()
        if names[-1] == "kernel":
            array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
        elif names[-1] == "v":
            shape = owner.get_parameter("weight_orig").shape[1:]
            array = array.reshape(shape).transpose(1, 2, 0).reshape(-1)
        return array.copy()

    return jax.tree_util.tree_map_with_path(take, dict(tree))


def _counterpart(module: nn.Module, path: tuple) -> tuple[list[str], nn.Module, Tensor]:
    """Returns the names on the path of an array of ours, and torch's module and tensor for it."""
    names = [entry.key for entry in path]
    # Our spectral norm is a module of its own, torch's belongs to the convolution.
    owner = module.get_submodule(".".join(names[:-1]).removesuffix(".kernel_norm"))
    kernel = "weight_orig" if hasattr(owner, "weight_orig") else "weight"
    return names, owner, getattr(owner, {**NAMES, "kernel": kernel}.get(names[-1], names[-1]))
