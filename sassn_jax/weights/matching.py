"""Arrays under other projects' names, into our trees."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

SHOWN = 6  # differences that an error's line lists
EPSILON = 1e-5  # of batch norm: torchvision's, and that of `sassn_jax.models.layers.BatchNorm`
# Of a norm that only adds its bias: it divides by sqrt(var + EPSILON), which is 1.
WITHOUT_EFFECT = {"scale": 1.0, "mean": 0.0, "var": 1.0 - EPSILON}


def fill(
    shapes: Mapping[str, Any],
    arrays: dict[str, np.ndarray],
    name_of: Callable[[tuple[str, ...]], str | None],
) -> tuple[dict[str, Any], list[str]]:
    """Fills a network's variables from arrays under PyTorch's names, kernels OIHW.

    A matrix of a fully connected layer fills the kernel of the convolution that computes the same.

    Args:
      shapes: the variables to fill, or their shapes: a tree for each collection.
      arrays: those that are used are removed.
      name_of: returns the array's name for a leaf's path in its collection; None for a leaf of a
        norm that the file has fused into a convolution.

    Returns:
      The variables that were found, float32; and a line for each array that is missing, has another
      shape, or is not of finite floating-point numbers.
    """
    filled, problems = {}, []
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        shape, name = np.shape(leaf), name_of(path[1:])
        if name is None:
            filled[path] = np.full(shape, WITHOUT_EFFECT[path[-1]], np.float32)
            continue
        axes = (2, 3, 1, 0) if path[-1] == "kernel" else tuple(range(len(shape)))  # OIHW -> HWIO
        shape_in_file = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
        array = arrays.pop(name, None)
        if array is None:
            problems.append(f"{name} {shape_in_file} is missing")
            continue
        as_matrix = (*shape_in_file[:1], math.prod(shape_in_file[1:]))
        if path[-1] == "kernel" and array.shape == as_matrix:
            array = array.reshape(shape_in_file)
        if array.shape != shape_in_file:
            problems.append(f"{name} is {array.shape}, expected {shape_in_file}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):  # NumPy's does not know bfloat16
            problems.append(f"{name} is of {array.dtype}, expected floating-point numbers")
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                filled[path] = array.transpose(axes).astype(np.float32)
            if not np.isfinite(filled[path]).all():
                problems.append(f"{name} holds NaN, or numbers that are infinite in float32")
    return traverse_util.unflatten_dict(filled), problems


def summary(problems: Sequence[str]) -> str:
    """Joins the first few lines into one.

    >>> summary(["a is missing", "b is missing"])
    '2 differ: a is missing; b is missing'
    """
    more = "; ..." if len(problems) > SHOWN else ""
    return f"{len(problems)} differ: {'; '.join(problems[:SHOWN])}{more}"
