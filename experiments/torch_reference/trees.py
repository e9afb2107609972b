"""Weights from our parameter trees into PyTorch's modules and back.

Submodules carry the names of our trees, so both are a walk along the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Tree = Mapping[str, Any]


def to_torch(module: nn.Module, params: Tree, collections: Tree) -> None:
    """Copy our parameters and collections into `module`, in place.

    Args:
      module: built with the same architecture.
      params: a tree as the JAX module's `params`.
      collections: `batch_stats` (mean, var) and `spectral` (u, v), or neither.

    Raises:
      AttributeError: for a leaf without a counterpart.
      ValueError: for a leaf of another shape, and for arrays of the module that no leaf names.
    """
    missing = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    for tree in (params, *collections.values()):
        for path, value in _leaves(tree):
            owner, tensor = _counterpart(module, path)
            array = np.asarray(value)
            if path[-1] == "kernel":
                array = array.transpose(3, 2, 0, 1)  # HWIO -> OIHW
            elif path[-1] == "v":
                _, inputs, height, width = owner.get_parameter("weight_orig").shape
                array = array.reshape(height, width, inputs).transpose(2, 0, 1).reshape(-1)
            if array.shape != tuple(tensor.shape):
                raise ValueError(f"{path}: torch has {tuple(tensor.shape)}, we {array.shape}")
            tensor.data.copy_(torch.from_numpy(array.copy()))
            missing.pop(id(tensor))
    left = [name for name in missing.values() if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"torch has arrays that we do not: {left}")


def from_torch(module: nn.Module, tree: Tree, *, gradients: bool = False) -> dict[str, Any]:
    """The arrays of `module`, or their gradients, as numpy arrays in our layout.

    Args:
      module: as given to `to_torch`.
      tree: params or one collection: it says which arrays to take.
      gradients: take the gradients instead, zeros where there is none.

    Returns:
      A tree of the structure of `tree`.
    """
    taken: dict[str, Any] = {}
    for path, _ in _leaves(tree):
        owner, tensor = _counterpart(module, path)
        if gradients:
            tensor = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        array = tensor.detach().cpu().numpy()
        if path[-1] == "kernel":
            array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
        elif path[-1] == "v":
            shape = owner.get_parameter("weight_orig").shape[1:]
            array = array.reshape(shape).transpose(1, 2, 0).reshape(-1)
        branch = taken
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = array.copy()
    return taken


def _leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _counterpart(module: nn.Module, path: tuple[str, ...]) -> tuple[nn.Module, Tensor]:
    # Our spectral norm is a module of its own, torch's belongs to the convolution.
    owner = module.get_submodule(".".join(path[:-1]).removesuffix(".kernel_norm"))
    kernel = "weight_orig" if hasattr(owner, "weight_orig") else "weight"
    names = {
        "kernel": kernel,
        "scale": "weight",
        "mean": "running_mean",
        "var": "running_var",
        "u": "weight_u",
        "v": "weight_v",
    }
    return owner, getattr(owner, names.get(path[-1], path[-1]))
