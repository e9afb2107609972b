"""Position attention as fused GPU kernels: the backward pass.

One kernel each computes dV, dQ and dK. All three compute the softmax's weights again, from the
scores and from two saved numbers per query: its largest score and the logarithm of its denominator
(Dao et al., 2022, appendix B). In the kernels for dV and dK a program owns keys, and tiles of
weights are transposed: rows are keys, columns are queries. Beyond the last position scores are -inf
and weights 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl

from pallas_kernels.position_attention import tile_math
from pallas_kernels.position_attention.tile_sizes import KernelTiles, TileSizes
from pallas_kernels.position_attention.triton_call import View, launch

# q, k, v and the output; for each query, [B, N], its largest score and the logarithm of its sum of
# exp(score - largest).
Residuals = tuple[Array, Array, Array, Array, Array, Array]


class _Views(NamedTuple):
    """What each kernel reads, and the gradient that it writes."""

    q: View
    k: View
    v: View
    d_out: View
    highest: View
    log_total: View
    correction: View
    gradient: View


def backward(
    scale: float,
    precision: lax.Precision,
    tiles: KernelTiles,
    interpret: bool,
    residuals: Residuals,
    d_out: Array,
) -> tuple[Array, Array, Array]:
    """Returns the gradients for q, k and v, in their dtypes."""
    q, k, v, out, highest, log_total = residuals
    # sum_k P dP, the term that the normalization adds to the softmax's derivative, without P.
    correction = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)  # [B, N]

    def run(name: str, kernel: Callable[..., None], sizes: TileSizes, like: Array) -> Array:
        block = sizes.block_q if name == "d_q" else sizes.block_k
        columns = sizes.block_v if name == "d_v" else sizes.block_qk
        (gradient,) = launch(
            lambda *views: kernel(_Views(*views), scale, precision, sizes),
            *(q, k, v, d_out, highest, log_total, correction),
            grid=(pl.cdiv(q.shape[1], block), pl.cdiv(like.shape[2], columns)),
            results=[jax.ShapeDtypeStruct(like.shape, like.dtype)],
            tiles=sizes,
            name=f"position_attention_{name}",
            interpret=interpret,
        )
        return gradient

    d_v = run("d_v", _d_v_kernel, tiles.d_v, v)
    d_q = run("d_q", _d_q_kernel, tiles.d_q, q)
    d_k = run("d_k", _d_k_kernel, tiles.d_k, k)
    return d_q, d_k, d_v


def _d_v_kernel(views: _Views, scale: float, precision: lax.Precision, tiles: TileSizes) -> None:
    """DV = P^T dO, for `block_k` keys and `block_v` columns."""
    positions = views.q.size[0]
    keys = (pl.program_id(0) * tiles.block_k, tiles.block_k)
    columns = (pl.program_id(1) * tiles.block_v, tiles.block_v)
    scores_with_keys = tile_math.scores_with(
        views.k, keys, views.q, tiles.block_qk, scale, precision
    )

    def take_queries(i: Array, d_v: Array) -> Array:
        queries = (i * tiles.block_q, tiles.block_q)
        scores = scores_with_keys(queries)  # [block_k, block_q]
        highest, log_total = views.highest.load(queries), views.log_total.load(queries)
        weights = tile_math.weights(scores, highest[None, :], log_total[None, :])
        d_out = views.d_out.load(queries, columns)
        return d_v + tile_math.dot(weights.astype(d_out.dtype), d_out, precision)

    start = jnp.zeros((tiles.block_k, tiles.block_v), jnp.float32)
    d_v = lax.fori_loop(0, pl.cdiv(positions, tiles.block_q), take_queries, start)
    views.gradient.store(keys, columns, d_v)


def _d_q_kernel(views: _Views, scale: float, precision: lax.Precision, tiles: TileSizes) -> None:
    """DQ = scale * dS K with dS = P (dO V^T - correction), for `block_q` queries."""
    positions = views.q.size[0]
    queries = (pl.program_id(0) * tiles.block_q, tiles.block_q)
    columns = (pl.program_id(1) * tiles.block_qk, tiles.block_qk)
    scores_with_queries = tile_math.scores_with(
        views.q, queries, views.k, tiles.block_v, scale, precision
    )
    highest, log_total = views.highest.load(queries), views.log_total.load(queries)
    correction = views.correction.load(queries)

    def take_keys(i: Array, d_q: Array) -> Array:
        keys = (i * tiles.block_k, tiles.block_k)
        scores = scores_with_queries(keys)  # [block_q, block_k]
        weights = tile_math.weights(scores, highest[:, None], log_total[:, None])
        d_weights = tile_math.product(views.d_out, queries, views.v, keys, tiles.block_v, precision)
        d_scores = tile_math.scores_gradient(weights, d_weights, correction[:, None])
        k = views.k.load(keys, columns)
        return d_q + tile_math.dot(d_scores.astype(k.dtype), k, precision)

    start = jnp.zeros((tiles.block_q, tiles.block_qk), jnp.float32)
    d_q = lax.fori_loop(0, pl.cdiv(positions, tiles.block_k), take_keys, start)
    views.gradient.store(queries, columns, scale * d_q)


def _d_k_kernel(views: _Views, scale: float, precision: lax.Precision, tiles: TileSizes) -> None:
    """DK = scale * dS^T Q, for `block_k` keys."""
    positions = views.q.size[0]
    keys = (pl.program_id(0) * tiles.block_k, tiles.block_k)
    columns = (pl.program_id(1) * tiles.block_qk, tiles.block_qk)
    scores_with_keys = tile_math.scores_with(
        views.k, keys, views.q, tiles.block_v, scale, precision
    )

    def take_queries(i: Array, d_k: Array) -> Array:
        queries = (i * tiles.block_q, tiles.block_q)
        highest, log_total = views.highest.load(queries), views.log_total.load(queries)
        correction = views.correction.load(queries)
        scores = scores_with_keys(queries)  # [block_k, block_q]
        weights = tile_math.weights(scores, highest[None, :], log_total[None, :])
        d_weights = tile_math.product(views.v, keys, views.d_out, queries, tiles.block_v, precision)
        d_scores = tile_math.scores_gradient(weights, d_weights, correction[None, :])
        q = views.q.load(queries, columns)
        return d_k + tile_math.dot(d_scores.astype(q.dtype), q, precision)

    start = jnp.zeros((tiles.block_k, tiles.block_qk), jnp.float32)
    d_k = lax.fori_loop(0, pl.cdiv(positions, tiles.block_q), take_queries, start)
    views.gradient.store(keys, columns, scale * d_k)
