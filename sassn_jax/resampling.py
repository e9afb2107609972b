"""Bilinear interpolation by matrix products, whose gradients are deterministic on every device.

Positions are computed on the host in whole numbers, so that none is rounded. `TrainTransform` does
not use this module. It computes positions in float64, which rounds some to just below a pixel;
exact ones would change the images that a seed gives.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float, Int

from sassn_jax.programs import jit_by_shape

Size = tuple[int, int]  # height, width, in pixels
Side = int | Any  # pixels: a number, or a symbol of `jax.export` for one that the program learns


class Points(NamedTuple):
    """Samples along one side of an image, each between two neighbouring pixels.

    Attributes:
      first: index of one neighbour. An index outside the image stands for a pixel of zeros.
      second: index of the other neighbour.
      weight: share of `second` in the sample; the rest is the share of `first`.
    """

    first: Int[np.ndarray | Array, "*N O"]
    second: Int[np.ndarray | Array, "*N O"]
    weight: Float[np.ndarray | Array, "*N O"]


def points_at(numerator: Int[np.ndarray | Array, " O"], denominator: Side) -> Points:
    """Returns the samples at `numerator / denominator`, in pixels from the centre of pixel 0."""
    first, rest = numerator // denominator, numerator % denominator
    first = first.astype(np.int32)
    return Points(first, first + 1, rest / denominator)


def sample_points(size_in: Side, size_out: Side, *, aligned: bool) -> Points:
    """Returns the samples that scale one side of an image from `size_in` to `size_out` pixels.

    On the host, since the product of two sizes may exceed the 32 bits of a device's integers. Only
    sizes that are known when the program runs (the symbols of `jax.export`) are computed on the
    device.

    Args:
      size_in: height or width of the image, in pixels.
      size_out: height or width of the result, in pixels.
      aligned: True keeps the centres of the corner pixels in place. False keeps the image's edges
        in place; between an edge and the nearest pixel's centre the value is that pixel's.
    """
    outputs = pixels(size_out)
    if aligned:
        return points_at(outputs * (size_in - 1), jax.core.max_dim(1, size_out - 1))
    numerator = (2 * outputs + 1) * size_in - size_out
    return points_at(numerator.clip(0, 2 * size_out * (size_in - 1)), 2 * size_out)


def pixels(size: Side) -> Int[np.ndarray | Array, " N"]:
    """Returns the indices of a side's pixels: a NumPy array unless the size is a symbol."""
    return jnp.arange(size) if is_symbolic_dim(size) else np.arange(size)


def interpolation_matrix(points: Points, size: Side) -> Float[Array | np.ndarray, "*N O I"]:
    """Returns the weight of each of an image's `size` pixels in each sample.

    A NumPy array for points of NumPy arrays, also inside a compiled function.
    """
    first, second, weight = (x[..., None] for x in points)
    is_first, is_second = ((pixels(size) == x).astype(weight.dtype) for x in (first, second))
    return is_first * (1 - weight) + is_second * weight


def interpolate(
    x: Float[Array, "B h w C"],
    rows: Float[Array | np.ndarray, "*N H h"],
    columns: Float[Array | np.ndarray, "*N W w"],
    *,
    precision: jax.lax.Precision | None = None,
) -> Float[Array, "B H W C"]:
    """Applies interpolation matrices, one for all images or one for each."""
    x = jnp.einsum("...oh,...hwc->...owc", rows, x, precision=precision)
    return jnp.einsum("...pw,...owc->...opc", columns, x, precision=precision)


class Sizes(NamedTuple):
    """Sizes in a batch of images that differ in size.

    Attributes:
      canvas: of the array that holds each image.
      images: of each image; it lies at the top left of its canvas, zeros fill the rest.
    """

    canvas: Size
    images: tuple[Size, ...]


def resample(
    x: Float[Array, "B H W C"], source: Sizes, target: Sizes, *, mirror: bool, aligned: bool
) -> Float[Array, "B h w C"]:
    """Scales each image of a batch bilinearly from its size to its size in `target`.

    Compiled once for a pair of canvases, whatever the images' sizes.

    Args:
      x: the images on their canvases.
      source: sizes in `x`.
      target: sizes of the result.
      mirror: whether to mirror the result left to right.
      aligned: see `sample_points`.
    """
    if source == target and not mirror:
        return x

    def along(axis: int, mirror: bool) -> Points:
        """Stacks the samples of all images; those outside a result see no pixel."""
        shape = len(target.images), target.canvas[axis]
        stacked = Points(
            np.full(shape, -1, np.int32), np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
        )
        for i, sizes in enumerate(zip(source.images, target.images, strict=True)):
            size_in, size_out = sizes[0][axis], sizes[1][axis]
            points = sample_points(size_in, size_out, aligned=aligned)
            if mirror:
                first, second = (size_in - 1 - x for x in (points.first, points.second))
                points = Points(first, second, points.weight)
            for whole, part in zip(stacked, points, strict=True):
                whole[i, :size_out] = part
        return stacked

    return _resample(x, along(0, mirror=False), along(1, mirror=mirror))


@jit_by_shape
def _resample(x: Float[Array, "B H W C"], rows: Points, columns: Points) -> jax.Array:
    down, across = (interpolation_matrix(p, x.shape[i]) for i, p in ((1, rows), (2, columns)))
    return interpolate(x, down, across, precision=jax.lax.Precision.HIGHEST)
