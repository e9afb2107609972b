"""The arithmetic of the kernels on tiles.

Rows and columns of a tile of scores are queries and keys in the forward and dQ kernels, keys and
queries in the dV and dK kernels. Statistics are float32.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl

from pallas_kernels.position_attention.triton_call import Span, View


def dot(x: Array, y: Array, precision: lax.Precision) -> Array:
    """Matmul of x [M, K] and y [K, N], summed in float32."""
    return _dot_general(x, y, ((1,), (0,)), precision)


def dot_transposed(x: Array, y: Array, precision: lax.Precision) -> Array:
    """Matmul of x [M, K] and the transpose of y [N, K], summed in float32."""
    return _dot_general(x, y, ((1,), (1,)), precision)


def _dot_general(
    x: Array, y: Array, contract: tuple[tuple[int], tuple[int]], precision: lax.Precision
) -> Array:
    return lax.dot_general(
        x, y, (contract, ((), ())), precision=precision, preferred_element_type=jnp.float32
    )


def scores_with(
    own: View, own_rows: Span, other: View, width: int, scale: float, precision: lax.Precision
) -> Callable[[Span], Array]:
    """Returns a function from rows of `other` to their scores with a program's own rows.

    Rows beyond the last position have a score of -inf. The first `width` columns of the own rows
    are read once; further columns are read again for each tile.

    Args:
      own: q or k. The program owns some of its rows.
      own_rows: the rows that the program owns.
      other: the other one of q and k.
      width: columns in a tile.
      scale: factor of the scores.
      precision: of the matmul.
    """
    first = own.load(own_rows, (0, width))
    positions, columns = own.size

    def scores(rows: Span) -> Array:  # [own rows, rows]
        total = dot_transposed(first, other.load(rows, (0, width)), precision)
        if columns > width:
            total = total + product(own, own_rows, other, rows, width, precision, first=1)
        total = scale * total
        if positions % rows[1]:
            exists = rows[0] + jnp.arange(rows[1]) < positions
            total = jnp.where(exists[None, :], total, -jnp.inf)
        return total

    return scores


def product(
    x: View,
    x_rows: Span,
    y: View,
    y_rows: Span,
    width: int,
    precision: lax.Precision,
    first: int = 0,
) -> Array:
    """Rows of x times rows of y, summed over columns, `width` at a time, from tile `first` on."""

    def add(i: Array, total: Array) -> Array:
        columns = (i * width, width)
        return total + dot_transposed(x.load(x_rows, columns), y.load(y_rows, columns), precision)

    start = jnp.zeros((x_rows[1], y_rows[1]), jnp.float32)
    return lax.fori_loop(first, pl.cdiv(x.size[1], width), add, start)


def online_softmax(
    scores: Array, highest: Array, total: Array
) -> tuple[Array, Array, Array, Array]:
    """Adds keys to a softmax that has seen others (Milakov and Gimelshein, 2018).

    Args:
      scores: [block_q, block_k], -inf for keys beyond the last.
      highest: [block_q], the largest score so far.
      total: [block_q], the sum of exp(score - highest) so far.

    Returns:
      The weights of these keys, the factor by which all earlier sums must be multiplied, and the
      new `highest` and `total`.
    """
    new_highest = jnp.maximum(highest, jnp.max(scores, axis=1))
    rescale = jnp.exp(highest - new_highest)
    weights = jnp.exp(scores - new_highest[:, None])
    return weights, rescale, new_highest, total * rescale + jnp.sum(weights, axis=1)


def weights(scores: Array, highest: Array, log_total: Array) -> Array:
    """The softmax's weights, from what the forward pass has saved.

    `highest` and `log_total` are saved apart: where scores are large, their sum would lose the
    digits of `log_total`.

    Args:
      scores: a tile, -inf for keys beyond the last.
      highest: the largest score of each query.
      log_total: the logarithm of each query's sum of exp(score - highest).
    """
    return jnp.exp(scores - highest - log_total)


def scores_gradient(weights: Array, d_weights: Array, correction: Array) -> Array:
    """The gradient for the scores, through the softmax.

    Args:
      weights: a tile of the softmax's weights.
      d_weights: the gradient for them.
      correction: each query's sum of weights * d_weights over all keys, which equals its sum of
        d_out * out over the columns of V.
    """
    return weights * (d_weights - correction)
