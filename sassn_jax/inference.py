"""Class probabilities of whole images: at once or by windows, at several scales, mirrored.

Images lie in arrays of few sizes (canvases), so that little is compiled. The network is compiled
once for each scale of each canvas, or only once with windows; the rest once for each canvas.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sassn_jax.fields import Checked, Rule, SizeOrNothing, Switch, check_rule, whole_numbers
from sassn_jax.programs import jit_by_shape
from sassn_jax.resampling import Size, Sizes, resample

Predict = Callable[[Any, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Inference(Checked):
    """How images are shown to a network: the fields of `config.eval`.

    Attributes:
      pad_to: height and width to which smaller images are padded with the mean colour, at the
        bottom and at the right (AdvSemiSeg: 505x505 for VOC 2012). Empty: no padding.
      window: height and width of the windows that slide over an image. An image smaller than a
        window is padded to it. Empty: the whole image at once.
      stride: distance between windows, down and across; if empty, two thirds of a window. The last
        window of a row or column ends at the edge of the image.
      scales: factors by which an image is scaled, as in training. They also scale `pad_to`, but
        not `window`.
      mirror: whether each view is also predicted mirrored left to right.
    """

    pad_to: SizeOrNothing = ()
    window: SizeOrNothing = ()
    stride: tuple[int, ...] = ()
    scales: Annotated[
        tuple[float, ...],
        Rule(
            lambda x: len(x) > 0 and all(0 < factor < math.inf for factor in x),
            "at least one factor, each above 0",
        ),
    ] = (1.0,)
    mirror: Switch = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stride:
            object.__setattr__(self, "stride", tuple(max(1, 2 * x // 3) for x in self.window))
        stride = Rule(
            lambda x: (
                len(x) == len(self.window)
                and whole_numbers(x, 1)
                and all(step <= side for step, side in zip(x, self.window, strict=True))
            ),
            "height and width, each at least 1 and at most that of the window, such as two thirds "
            "of it; () without windows",
        )
        check_rule("stride", self.stride, stride)

    def padded(self, size: Size) -> Size:
        """Returns the height and width of an image of this size with its padding."""
        return _at_least(size, self.pad_to)

    def canvas(self, size: Size) -> Size:
        """Returns the height and width of the array for an image of this size.

        With windows they are rounded up, so that images of many sizes share a canvas.
        """
        height, width = self.padded(size)
        down, across = self.stride or (1, 1)
        return -(-height // down) * down, -(-width // across) * across


class Band(NamedTuple):
    """Rows of an image that can be predicted apart from the others, with the same result.

    Attributes:
      first: the first of these rows.
      last: the row after the last of them.
      top: first row of all windows that contain one of these rows.
      bottom: the row after the last of those windows.
    """

    first: int
    last: int
    top: int
    bottom: int


def row_bands(height: int, inference: Inference, rows: int) -> list[Band]:
    """Cuts an image that is predicted by windows, at scale 1, into bands of rows.

    The windows in the rows from `top` to `bottom` of a band are those of the whole image. Windows
    that reach over the edge between two bands are predicted for both.

    Args:
      height: of the image, in pixels, at least that of a window and of `inference.pad_to`.
      inference: with windows.
      rows: between the top and the bottom of a band, if a band of one row of windows allows it.
    """
    window, stride = inference.window[0], inference.stride[0]
    tops = _starts(height, window, stride)
    # As many rows of windows beyond the first as fit, without those that also reach into the band.
    count = max(1, (rows - 2 * window) // stride + 1)
    edges = [0, *tops[count::count], height]
    bands = []
    for first, last in itertools.pairwise(edges):
        seen = [top for top in tops if top < last and top + window > first]
        bands.append(Band(first, last, seen[0], seen[-1] + window))
    return bands


def predict_images(
    predict: Predict,
    variables: Any,
    images: Float[Array, "B H W 3"],
    sizes: Sizes,
    target: Sizes,
    inference: Inference,
    *,
    batch_size: int,
) -> Float[Array, "B h w C"]:
    """Predicts class probabilities of images that may differ in size.

    A pixel's probabilities are the mean over the views (scales, mirrored or not), and in each view
    over the windows that contain the pixel. The mean is of probabilities, not of logits, so that a
    view with a larger range of logits has no more weight. Images are scaled bilinearly as in
    training, where their edges stay in place; probabilities with aligned corners, as the network
    scales its logits.

    Args:
      predict: class probabilities `[N, h, w, C]` from variables and normalized images
        `[N, h, w, 3]`, where N is B or, with windows, `batch_size`.
      variables: passed on to `predict`.
      images: normalized, each at the top left of its canvas.
      sizes: of the images.
      target: sizes of the result.
      inference: the views.
      batch_size: windows in a call of `predict`.

    Returns:
      Probabilities in the sizes of `target`; zeros around them where they were scaled.
    """
    mirrors = (False, True) if inference.mirror else (False,)
    views = list(itertools.product(inference.scales, mirrors))

    def predict_view(scale: float, mirror: bool) -> jax.Array:
        view = Sizes(
            _at_least(_scaled(sizes.canvas, scale), inference.window),
            tuple(_scaled(size, scale) for size in sizes.images),
        )
        shown = resample(images, sizes, view, mirror=mirror, aligned=False)
        if inference.window:
            probabilities = _stack(
                *[
                    _slide(
                        predict,
                        variables,
                        _pick(shown, np.int32(i)),
                        _at_least(_scaled(inference.padded(size), scale), inference.window),
                        inference,
                        batch_size,
                    )
                    for i, size in enumerate(sizes.images)
                ]
            )
        else:
            probabilities = predict(variables, shown)
        return resample(probabilities, view, target, mirror=mirror, aligned=True)

    return _mean(*itertools.starmap(predict_view, views))


def predict_by_windows(
    predict: Callable[[Float[Array, "N h w 3"]], Float[Array, "N h w C"]],
    images: Float[Array, "B H W 3"],
    inference: Inference,
) -> Float[Array, "B H W C"]:
    """Predicts class probabilities as `predict_images` does at scale 1, in one call of `predict`.

    For programs that are traced once, with any number of images; all their windows are in memory.

    Args:
      predict: class probabilities from normalized images.
      images: normalized, with their padding; no smaller than a window.
      inference: with windows.
    """
    sides = zip(images.shape[1:3], inference.window, inference.stride, strict=True)
    rows, columns = (_starts(*x) for x in sides)
    height, width = inference.window
    places = [(slice(y, y + height), slice(x, x + width)) for y in rows for x in columns]
    windows = jnp.stack([images[:, down, across] for down, across in places], axis=1)
    probabilities = predict(windows.reshape(-1, height, width, 3))
    probabilities = probabilities.reshape(-1, len(places), *probabilities.shape[1:])
    total: Any = 0.0
    coverage = np.zeros((*images.shape[1:3], 1), np.float32)
    for i, (down, across) in enumerate(places):
        below, beyond = images.shape[1] - down.stop, images.shape[2] - across.stop
        around = (down.start, below), (across.start, beyond)
        total += jnp.pad(probabilities[:, i], ((0, 0), *around, (0, 0)))
        coverage[down, across] += 1
    return total / coverage


@jit_by_shape
def _mean(*views: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
    return functools.reduce(jnp.add, views) / len(views)


@jit_by_shape
def most_likely(probabilities: Float[Array, "B h w C"]) -> Int[Array, "B h w"]:
    """Returns the most likely class of each pixel."""
    return jnp.argmax(probabilities, axis=-1)


def _at_least(size: Size, minimum: tuple[int, ...]) -> Size:
    height, width = minimum or size
    return max(height, size[0]), max(width, size[1])


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _slide(
    predict: Predict,
    variables: Any,
    image: Float[Array, "H W 3"],
    extent: Size,
    inference: Inference,
    batch_size: int,
) -> Float[Array, "H W C"]:
    """Returns the mean over the windows that slide over the first `extent` pixels of an array.

    One image at a time, since the probabilities of a large one fill memory.
    """
    height, width = inference.window
    rows, columns = (
        _starts(*sides) for sides in zip(extent, inference.window, inference.stride, strict=True)
    )
    corners = np.array(list(itertools.product(rows, columns)), np.int32)
    coverage = np.zeros((*image.shape[:2], 1), np.float32)
    for top, left in corners:
        coverage[top : top + height, left : left + width] += 1
    total: Any = None
    for first in range(0, len(corners), batch_size):
        batch = corners[first : first + batch_size]
        missing = batch_size - len(batch)
        weights = np.pad(np.ones(len(batch), np.float32), (0, missing))
        batch = np.pad(batch, ((0, missing), (0, 0)), mode="edge")
        probabilities = predict(variables, _cut(image, batch, window=(height, width)))
        if first == 0:
            shape = (*image.shape[:2], probabilities.shape[-1])
            total = jax.device_put(np.zeros(shape, np.float32))  # without compiling
        total = _add_windows(total, probabilities, batch, weights)
    return _divide(total, np.maximum(coverage, 1))


@jit_by_shape
def _divide(total: Float[Array, "H W C"], coverage: Float[Array, "H W 1"]) -> jax.Array:
    return total / coverage


def _starts(size: int, window: int, stride: int) -> list[int]:
    """Returns where windows begin along a side of an image, which is no shorter than a window."""
    last = size - window
    return [*range(0, last, stride), last]


@jit_by_shape
def _pick(images: Float[Array, "B H W C"], index: Int[Array, ""]) -> Float[Array, "H W C"]:
    return images[index]


@jit_by_shape
def _stack(*images: Float[Array, "H W C"]) -> Float[Array, "B H W C"]:
    return jnp.stack(images)


@jit_by_shape
def _cut(
    image: Float[Array, "H W 3"], corners: Int[Array, "N 2"], *, window: Size
) -> Float[Array, "N h w 3"]:
    return jax.vmap(lambda corner: jax.lax.dynamic_slice(image, (*corner, 0), (*window, 3)))(
        corners
    )


@functools.partial(jit_by_shape, donate_argnums=(0,))
def _add_windows(
    total: Float[Array, "H W C"],
    probabilities: Float[Array, "N h w C"],
    corners: Int[Array, "N 2"],
    weights: Float[Array, " N"],
) -> Float[Array, "H W C"]:
    """Adds one window after the other at its place, so that the order of the sum is fixed."""

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        corner = (*corners[i], 0)
        before = jax.lax.dynamic_slice(total, corner, probabilities.shape[1:])
        after = before + weights[i] * probabilities[i]
        return jax.lax.dynamic_update_slice(total, after, corner)

    return jax.lax.fori_loop(0, len(weights), add, total)
