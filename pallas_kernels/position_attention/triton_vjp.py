"""Position attention as fused GPU kernels: the backward pass.

Three kernels, one for each of dV, dQ and dK, each the owner of what it writes. All compute the
softmax's weights anew from the scores, and from the saved largest score and logarithm of the
denominator of each query (Dao et al., 2022, appendix B). In the kernels for dV and dK a program
owns keys, and tiles of weights are transposed: rows are keys, columns are queries. Where a tile
reaches beyond the last position, scores are -inf and weights 0.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl

from pallas_kernels.position_attention import tile_math
from pallas_kernels.position_attention.tile_sizes import KernelTiles, TileSizes
from pallas_kernels.position_attention.triton_call import (
    Ref,
    Size,
    launch,
    load,
    product,
    scores_with,
    store,
)

# q, k, v, out; of each query [B, N] the largest score and the logarithm of the sum below it.
Residuals = tuple[Array, Array, Array, Array, Array, Array]


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
    positions = q.shape[1]
    # sum_k P dP, the term that the normalization adds to the softmax's derivative, without P.
    correction = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)  # [B, N]

    def run(name: str, kernel: Callable[..., None], sizes: TileSizes, like: Array) -> Array:
        block = sizes.block_q if name == "d_q" else sizes.block_k
        columns = sizes.block_v if name == "d_v" else sizes.block_qk
        static = {"qk_size": q.shape[1:], "v_size": v.shape[1:], "scale": scale}
        (gradient,) = launch(
            functools.partial(kernel, **static, precision=precision, tiles=sizes),
            *(q, k, v, d_out, highest, log_total, correction),
            grid=(pl.cdiv(positions, block), pl.cdiv(like.shape[2], columns)),
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


def _d_v_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    d_out_ref: Ref,
    highest_ref: Ref,
    log_total_ref: Ref,
    correction_ref: Ref,
    d_v_ref: Ref,
    *,
    qk_size: Size,
    v_size: Size,
    scale: float,
    precision: lax.Precision,
    tiles: TileSizes,
) -> None:
    """DV = P^T dO, for `block_k` keys and `block_v` columns."""
    del v_ref, correction_ref
    positions = qk_size[0]
    keys = (pl.program_id(0) * tiles.block_k, tiles.block_k)
    columns = (pl.program_id(1) * tiles.block_v, tiles.block_v)
    scores_with_keys = scores_with(k_ref, keys, q_ref, qk_size, tiles.block_qk, scale, precision)

    def take_queries(i: Array, d_v: Array) -> Array:
        queries = (i * tiles.block_q, tiles.block_q)
        scores = scores_with_keys(queries)  # [block_k, block_q]
        highest = load(highest_ref, (positions,), queries)
        log_total = load(log_total_ref, (positions,), queries)
        weights = tile_math.weights(scores, highest[None, :], log_total[None, :])
        d_out = load(d_out_ref, v_size, queries, columns)
        return d_v + tile_math.dot(weights.astype(d_out.dtype), d_out, precision)

    start = jnp.zeros((tiles.block_k, tiles.block_v), jnp.float32)
    d_v = lax.fori_loop(0, pl.cdiv(positions, tiles.block_q), take_queries, start)
    store(d_v_ref, v_size, keys, columns, d_v)


def _d_q_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    d_out_ref: Ref,
    highest_ref: Ref,
    log_total_ref: Ref,
    correction_ref: Ref,
    d_q_ref: Ref,
    *,
    qk_size: Size,
    v_size: Size,
    scale: float,
    precision: lax.Precision,
    tiles: TileSizes,
) -> None:
    """DQ = scale * dS K with dS = P (dO V^T - correction), for `block_q` queries."""
    positions = qk_size[0]
    queries = (pl.program_id(0) * tiles.block_q, tiles.block_q)
    columns = (pl.program_id(1) * tiles.block_qk, tiles.block_qk)
    scores_with_queries = scores_with(
        q_ref, queries, k_ref, qk_size, tiles.block_v, scale, precision
    )
    highest = load(highest_ref, (positions,), queries)
    log_total = load(log_total_ref, (positions,), queries)
    correction = load(correction_ref, (positions,), queries)

    def take_keys(i: Array, d_q: Array) -> Array:
        keys = (i * tiles.block_k, tiles.block_k)
        scores = scores_with_queries(keys)  # [block_q, block_k]
        weights = tile_math.weights(scores, highest[:, None], log_total[:, None])
        d_weights = product(d_out_ref, queries, v_ref, keys, v_size, tiles.block_v, precision)
        d_scores = tile_math.scores_gradient(weights, d_weights, correction[:, None])
        k = load(k_ref, qk_size, keys, columns)
        return d_q + tile_math.dot(d_scores.astype(k.dtype), k, precision)

    start = jnp.zeros((tiles.block_q, tiles.block_qk), jnp.float32)
    d_q = lax.fori_loop(0, pl.cdiv(positions, tiles.block_k), take_keys, start)
    store(d_q_ref, qk_size, queries, columns, scale * d_q)


def _d_k_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    d_out_ref: Ref,
    highest_ref: Ref,
    log_total_ref: Ref,
    correction_ref: Ref,
    d_k_ref: Ref,
    *,
    qk_size: Size,
    v_size: Size,
    scale: float,
    precision: lax.Precision,
    tiles: TileSizes,
) -> None:
    """DK = scale * dS^T Q, for `block_k` keys."""
    positions = qk_size[0]
    keys = (pl.program_id(0) * tiles.block_k, tiles.block_k)
    columns = (pl.program_id(1) * tiles.block_qk, tiles.block_qk)
    scores_with_keys = scores_with(k_ref, keys, q_ref, qk_size, tiles.block_v, scale, precision)

    def take_queries(i: Array, d_k: Array) -> Array:
        queries = (i * tiles.block_q, tiles.block_q)
        highest = load(highest_ref, (positions,), queries)
        log_total = load(log_total_ref, (positions,), queries)
        correction = load(correction_ref, (positions,), queries)
        scores = scores_with_keys(queries)  # [block_k, block_q]
        weights = tile_math.weights(scores, highest[None, :], log_total[None, :])
        d_weights = product(v_ref, keys, d_out_ref, queries, v_size, tiles.block_v, precision)
        d_scores = tile_math.scores_gradient(weights, d_weights, correction[None, :])
        q = load(q_ref, qk_size, queries, columns)
        return d_k + tile_math.dot(d_scores.astype(q.dtype), q, precision)

    start = jnp.zeros((tiles.block_k, tiles.block_qk), jnp.float32)
    d_k = lax.fori_loop(0, pl.cdiv(positions, tiles.block_q), take_queries, start)
    store(d_k_ref, qk_size, keys, columns, scale * d_k)
