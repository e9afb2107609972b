"""Bilinear resampling of images that may differ in size, in arrays of few shapes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.programs import jit_by_shape

Size = tuple[int, int]  # height, width, in pixels


class Sizes(NamedTuple):
    """Sizes in a batch.

    Attributes:
      canvas: that all arrays share.
      images: of the image at the top left of each; zeros fill the rest.
    """

    canvas: Size
    images: tuple[Size, ...]


def resample(
    x: Float[Array, "B H W C"], source: Sizes, target: Sizes, *, mirror: bool, aligned: bool
) -> Float[Array, "B h w C"]:
    """Scales the images of a batch bilinearly, each from its size to its size in `target`.

    Args:
      x: the images on their canvases.
      source: sizes in `x`.
      target: sizes of the result.
      mirror: whether the result is mirrored left to right.
      aligned: whether it is the centres of the corner pixels that keep their place, or the corners
        of the image, as in `TrainTransform`.
    """
    if source == target and not mirror:
        return x

    def along(axis: int) -> Points:
        """Where the samples of each image lie along an axis, the images' stacked."""
        of_images = [
            sample_points(
                size_in[axis],
                size_out[axis],
                target.canvas[axis],
                mirror=mirror and axis == 1,
                aligned=aligned,
            )
            for size_in, size_out in zip(source.images, target.images, strict=True)
        ]
        return Points(*map(np.stack, zip(*of_images, strict=True)))

    return _interpolate(x, along(0), along(1))


class Points(NamedTuple):
    """Where the samples of a result lie along one side of an image.

    Attributes:
      first: the pixel that a sample takes most of its value from, or its left or upper neighbour.
      second: the pixel next to it.
      weight: the share of `second`; that of `first` is the rest.
      inside: whether the sample is one of the result's, and not of what surrounds it.
    """

    first: Int[np.ndarray, "*B O"]
    second: Int[np.ndarray, "*B O"]
    weight: Float[np.ndarray, "*B O"]
    inside: Bool[np.ndarray, "*B O"]


def sample_points(
    size_in: int, size_out: int, canvas: int, *, mirror: bool, aligned: bool
) -> Points:
    """Returns how `size_in` samples are interpolated linearly to `size_out`.

    In whole numbers up to the weights, so that the position of no sample is rounded; on the host,
    since the product of two sizes may take more than the 32 bits of a device's integers.

    Args:
      size_in: height or width of the image, in pixels.
      size_out: height or width of the result.
      canvas: samples to return, of which those from `size_out` on are not `inside`.
      mirror: whether the result is mirrored.
      aligned: see `resample`.
    """
    outputs = np.arange(canvas, dtype=np.int64)
    if aligned:
        numerator, denominator = outputs * (size_in - 1), max(1, size_out - 1)
    else:
        numerator, denominator = (2 * outputs + 1) * size_in - size_out, 2 * size_out
    numerator = np.clip(numerator, 0, denominator * (size_in - 1))
    below, rest = np.divmod(numerator, denominator)
    above = np.minimum(below + 1, size_in - 1)
    weight = (rest / denominator).astype(np.float32)
    first, second = ((size_in - 1 - p if mirror else p).astype(np.int32) for p in (below, above))
    return Points(first, second, weight, outputs < size_out)


@jit_by_shape
def _interpolate(
    x: Float[Array, "B H W C"], rows: Points, columns: Points
) -> Float[Array, "B h w C"]:
    """Two matrix products an image, of one shape whatever the images' sizes."""
    across, down = (
        jax.vmap(functools.partial(_interpolation_matrix, x.shape[axis]))(points)
        for axis, points in ((2, columns), (1, rows))
    )
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return product("bpw,bowc->bopc", across, product("boh,bhwc->bowc", down, x))


def _interpolation_matrix(size: int, points: Points) -> Float[Array, "O I"]:
    """The weights of an image's `size` pixels in each sample; zeros where there is none."""
    pixels = jnp.arange(size)
    is_first, is_second = (pixels == p[:, None] for p in (points.first, points.second))
    weight = points.weight[:, None]
    weights = jnp.where(is_first, 1 - weight, jnp.where(is_second, weight, 0))
    return jnp.where(points.inside[:, None], weights, 0)
