"""Weights under torchvision's names, into a ResNet trunk."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.weights import npz
from sassn_jax.weights.fused import is_fused
from sassn_jax.weights.matching import fill, summary
from sassn_jax.weights.names import fused_name, is_unused, resnet_name


def load_backbone(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any],
    *,
    image_std: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Any]:
    """Reads a trunk's weights from a file of arrays under torchvision's names.

    If batch norm is fused into the convolutions (the file has a `conv1.bias`), the biases become
    the shifts of norms that have no other effect. Such a network needs `whiten` before training.

    Args:
      path: a `.npz` file. A classifier (`fc`) in it is left out.
      variables: `params` and `batch_stats` of the trunk, or their shapes.
      image_std: what our pipeline divides each channel by, in its order of channels, if the file's
        network was trained on images that were not divided. The first kernel is multiplied by it.

    Returns:
      New `params` and `batch_stats` of the same structure, float32.

    Raises:
      InputError: unless the file holds every array of the trunk, in its shape, and no other.
    """
    arrays = {name: array for name, array in npz.read(path).items() if not is_unused(name)}
    name_of: Callable[..., str | None] = resnet_name
    if is_fused(arrays):
        name_of = functools.partial(fused_name, resnet_name)
    filled, problems = fill(variables, arrays, name_of)
    problems += [f"{name} {array.shape} has no place" for name, array in arrays.items()]
    if problems:
        raise InputError(
            f"{os.fspath(path)}: expected exactly the arrays of this backbone, under "
            f"torchvision's names; {summary(problems)}"
        )
    scale_input(filled["params"], image_std)
    return filled


def scale_input(params: dict[str, Any], std: Sequence[float]) -> None:
    """Adapts a trunk's parameters, in place, to images whose channels are divided by `std`."""
    kernel = params["conv1"]["kernel"]  # [7, 7, 3, D]
    params["conv1"]["kernel"] = kernel * np.asarray(std, np.float32)[:, None]
