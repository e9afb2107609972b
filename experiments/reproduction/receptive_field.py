"""How far a network sees, measured by gradients: Luo et al. 2016, section 2.

The receptive field of an output is the part of the input in which its gradient is not zero. In most
of it the gradient is tiny; the effective field holds nearly all of the gradient's square.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

HELD = 0.95  # of the gradient's square, in the effective field

Logits = Callable[[Any, jax.Array], jax.Array]  # [1, H, W, C] of variables and [1, H, W, 3]


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """How far from a pixel a network sees, in pixels up, down, left or right.

    Attributes:
      extent: to the farthest pixel with any gradient.
      effective: the smallest distance that holds `HELD` of the gradient's square.
      is_cut: whether the field reaches the border of the images, so that it may be larger.
    """

    extent: int
    effective: int
    is_cut: bool


def measure(
    logits: Logits, variables: Any, images: Iterable[Float[np.ndarray, "H W 3"]], class_id: int
) -> ReceptiveField:
    """Measures the receptive field of the logit of a class at the middle of images.

    Args:
      logits: of the network in evaluation, at the size of the image.
      variables: passed on to `logits`.
      images: normalized, of one size, large enough for the field. The gradient's square is summed
        over them, since ReLU passes other parts in each.
      class_id: of the logit.

    Returns:
      Distances, the larger of rows and columns, since a receptive field is a square.
    """

    @jax.jit
    def gradient(variables: Any, image: jax.Array) -> jax.Array:
        row, column = image.shape[0] // 2, image.shape[1] // 2
        return jax.grad(lambda x: logits(variables, x[None])[0, row, column, class_id])(image)

    gradients = [np.asarray(gradient(variables, jnp.asarray(x)), np.float64) for x in images]
    total = np.sum(np.square(gradients), axis=(0, -1))
    height, width = total.shape
    rows = np.abs(np.arange(height) - height // 2)
    columns = np.abs(np.arange(width) - width // 2)
    distance = np.maximum(rows[:, None], columns)
    extent = int(distance[total > 0].max(initial=0))
    within = np.bincount(distance.ravel(), total.ravel()).cumsum()
    effective = int(np.searchsorted(within, HELD * within[-1]))
    nearest_border = min(height // 2, width // 2, (height - 1) // 2, (width - 1) // 2)
    return ReceptiveField(extent, effective, is_cut=extent >= nearest_border)
