"""The arithmetic of the kernels on tiles that are already loaded: no call here knows of a GPU.

Rows and columns are queries and keys in the forward and dQ kernels, keys and queries in the others.
Statistics are float32. `axis` is the axis of the keys in the forward kernel's functions.
"""

import jax.numpy as jnp
from jax import Array, lax


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


def online_softmax(
    scores: Array, highest: Array, total: Array
) -> tuple[Array, Array, Array, Array]:
    """Takes more keys into a softmax that is under way (Milakov and Gimelshein, 2018).

    Args:
      scores: [block_q, block_k], -inf for keys that are not there.
      highest: [block_q], the largest score so far.
      total: [block_q], the sum of exp(score - highest) so far.

    Returns:
      The weights of these keys, the factor by which all that was summed up before must be
      multiplied, and the new `highest` and `total`.
    """
    new_highest = jnp.maximum(highest, jnp.max(scores, axis=1))
    rescale = jnp.exp(highest - new_highest)
    weights = jnp.exp(scores - new_highest[:, None])
    return weights, rescale, new_highest, total * rescale + jnp.sum(weights, axis=1)


def weights(scores: Array, highest: Array, log_total: Array) -> Array:
    """The softmax's weights from what the forward pass has saved.

    The two are apart because their sum loses what `log_total` says where scores are large.

    Args:
      scores: all of one tile; -inf for keys that are not there.
      highest: the largest score of each query.
      log_total: the logarithm of the query's sum of exp(score - highest).
    """
    return jnp.exp(scores - highest - log_total)


def scores_gradient(weights: Array, d_weights: Array, correction: Array) -> Array:
    """Through the softmax: weights * (d_weights - correction), all of one tile.

    Args:
      weights: of the softmax.
      d_weights: gradient for them.
      correction: the sum over keys of weights * d_weights, which is that of d_out * out over V.
    """
    return weights * (d_weights - correction)
