"""Weights under torchvision's names, into the trunk of the segmentation network."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from sassn_jax.errors import InputError
from sassn_jax.weights import npz

Tree = Mapping[str, Any]

EPSILON = 1e-5  # of batch norm: torchvision's, and that of `sassn_jax.models.layers.BatchNorm`
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
# Arrays of a torchvision ResNet that a segmentation network has no use for.
UNUSED = ("fc.weight", "fc.bias")
UNUSED_SUFFIX = ".num_batches_tracked"


def torchvision_name(path: Sequence[str]) -> str:
    """The name that torchvision gives to a leaf of the trunk's tree.

    >>> torchvision_name(("layer3_2", "conv1", "kernel"))
    'layer3.2.conv1.weight'
    >>> torchvision_name(("layer3_0", "downsample_bn", "mean"))
    'layer3.0.downsample.1.running_mean'
    """
    *modules, leaf = path
    names = [MODULES.get(name, name.replace("_", ".")) for name in modules]
    return ".".join([*names, LEAVES.get(leaf, leaf)])


def load_backbone(
    path: str | os.PathLike[str],
    params: Tree,
    batch_stats: Tree,
    *,
    image_std: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a trunk's weights from a file of arrays under torchvision's names.

    A file in which batch norm is fused into weights and biases (it has a `conv1.bias`) is read too:
    the biases become the shifts of norms that otherwise do nothing. Such a network needs `whiten`
    before it can be trained.

    Args:
      path: of a `.npz` file. A classifier (`fc`) in it is left out.
      params: of the trunk: the names and shapes to fill.
      batch_stats: of the trunk, likewise.
      image_std: what our pipeline divides each channel by and the file's network does not, in its
        order of channels. The first kernel is multiplied by it.

    Returns:
      New `params` and `batch_stats` of the same structure, float32.

    Raises:
      InputError: unless every array of the trunk is in the file, in its shape, and no other is.
    """
    arrays = npz.read(path)
    for unused in [n for n in arrays if n in UNUSED or n.endswith(UNUSED_SUFFIX)]:
        del arrays[unused]
    fused = "conv1.bias" in arrays

    problems, trees = [], []
    for tree in (params, batch_stats):
        filled = {}
        for leaf_path, leaf in traverse_util.flatten_dict(tree).items():
            shape = np.shape(leaf)
            name = _name_in_file(leaf_path, fused)
            if name is None:
                filled[leaf_path] = _norm_without_effect(leaf_path[-1], shape)
                continue
            axes = (2, 3, 1, 0) if leaf_path[-1] == "kernel" else (0,)  # OIHW -> HWIO
            shape_in_file = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
            array = arrays.pop(name, None)
            if array is None:
                problems.append(f"{name} {shape_in_file} is missing")
            elif array.shape != shape_in_file:
                problems.append(f"{name} is {array.shape}, expected {shape_in_file}")
            else:
                filled[leaf_path] = array.transpose(axes).astype(np.float32)
        trees.append(filled)
    problems += [f"{name} {array.shape} has no place" for name, array in arrays.items()]
    if problems:
        shown = "; ".join(problems[:6]) + ("; ..." if len(problems) > 6 else "")
        raise InputError(
            f"weights={os.fspath(path)!r}: expected exactly the arrays of this backbone, under "
            f"torchvision's names; {len(problems)} differ: {shown}"
        )

    filled_params, filled_stats = trees
    std = np.asarray(image_std, np.float32)
    filled_params["conv1", "kernel"] *= std[:, None]  # [7, 7, 3, D]
    return traverse_util.unflatten_dict(filled_params), traverse_util.unflatten_dict(filled_stats)


def _name_in_file(path: tuple[str, ...], fused: bool) -> str | None:
    """The name of the array for a leaf, None where a fused file has none."""
    *modules, layer, leaf = path
    if not fused or leaf == "kernel":
        return torchvision_name(path)
    if leaf == "bias":
        return torchvision_name((*modules, layer.replace("bn", "conv"), leaf))
    return None


def _norm_without_effect(leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    # The norm divides by sqrt(var + EPSILON), which is then 1.
    value = {"scale": 1.0, "mean": 0.0, "var": 1.0 - EPSILON}[leaf]
    return np.full(shape, value, np.float32)
