"""Weights under torchvision's names, into a ResNet trunk."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.weights import npz
from sassn_jax.weights.fused import IMAGE_STD, is_fused
from sassn_jax.weights.matching import fill, summary
from sassn_jax.weights.names import fused_name, is_unused, resnet_name


def load_backbone(
    path: str | os.PathLike[str], variables: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Reads a trunk's weights from a file of arrays under torchvision's names.

    If batch norm is fused into the convolutions (the file has a `conv1.bias`), the biases become
    the shifts of norms that have no other effect, and the first kernel is multiplied by
    `fused.IMAGE_STD`, by which images must then be divided. Such a network needs `whiten` before
    training.

    Args:
      path: a `.npz` file. A classifier (`fc`) in it is left out.
      variables: `params` and `batch_stats` of the trunk, or their shapes.

    Returns:
      New `params` and `batch_stats` of the same structure, float32; and whether batch norm is
      fused.

    Raises:
      InputError: unless the file holds every array of the trunk, in its shape, and no other.
    """
    arrays = {name: array for name, array in npz.read(path).items() if not is_unused(name)}
    fused = is_fused(arrays)
    name_of = functools.partial(fused_name, resnet_name) if fused else resnet_name
    filled, problems = fill(variables, arrays, name_of)
    problems += [f"{name} {array.shape} has no place" for name, array in arrays.items()]
    if problems:
        raise InputError(
            f"{os.fspath(path)}: expected exactly the arrays of this backbone, under "
            f"torchvision's names; {summary(problems)}"
        )
    if fused:
        scale_input(filled["params"], IMAGE_STD)
    return filled, fused


def scale_input(params: dict[str, Any], std: Sequence[float]) -> None:
    """Adapts a trunk's parameters, in place, to images whose channels are divided by `std`."""
    kernel = params["conv1"]["kernel"]  # [7, 7, 3, D]
    params["conv1"]["kernel"] = kernel * np.asarray(std, np.float32)[:, None]
