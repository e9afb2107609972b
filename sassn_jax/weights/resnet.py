"""Weights under torchvision's names, into the trunk of the segmentation network."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.weights import npz
from sassn_jax.weights.fused import is_fused
from sassn_jax.weights.matching import fill, fused_name, summary, torchvision_name

Tree = Mapping[str, Any]

# Arrays of torchvision's ResNet and VGG that a segmentation network has no use for.
UNUSED = ("fc.weight", "fc.bias", "classifier.6.weight", "classifier.6.bias")


def is_unused(name: str) -> bool:
    """Whether a segmentation network has no use for an array, by the name in torchvision."""
    return name in UNUSED or is_counter(name)


def is_counter(name: str) -> bool:
    """Whether an array counts the batches that a norm has seen, by its name in PyTorch."""
    return name.rpartition(".")[2] == "num_batches_tracked"


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
    arrays = {name: array for name, array in npz.read(path).items() if not is_unused(name)}
    name_of: Any = torchvision_name
    if is_fused(arrays):
        name_of = functools.partial(fused_name, torchvision_name)
    filled_params, problems = fill(params, arrays, name_of)
    filled_stats, more = fill(batch_stats, arrays, name_of)
    problems += more + [f"{name} {array.shape} has no place" for name, array in arrays.items()]
    if problems:
        raise InputError(
            f"{os.fspath(path)}: expected exactly the arrays of this backbone, under "
            f"torchvision's names; {summary(problems)}"
        )
    scale_input(filled_params, image_std)
    return filled_params, filled_stats


def scale_input(params: dict[str, Any], std: Sequence[float]) -> None:
    """Makes a trunk's parameters fit images whose channels are divided by `std`, in place."""
    kernel = params["conv1"]["kernel"]  # [7, 7, 3, D]
    params["conv1"]["kernel"] = kernel * np.asarray(std, np.float32)[:, None]
