"""Position attention in plain XLA whose memory grows with N, not with N^2.

The forward pass takes a block of queries at a time, the backward pass a block of keys, so only
`block x N` scores exist at any moment, and both write each large result once. The forward pass
saves its inputs, its output and two numbers per query: the largest score, and the logarithm of the
sum of exp(score - largest). From these the backward pass computes a block's weights again, as in
FlashAttention (Dao et al., 2022, section 3.1 and appendix B).

Where one block holds all positions, the loop has one round, and XLA removes it.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

# The most scores of one image in a block, 8 MiB in float32. Up to N = 1448 there is one block.
_MAX_BLOCK_SCORES = 1 << 21

_Residuals = tuple[Array, Array, Array, Array, Array, Array]


def position_attention(
    q: Float[Array, "B N Dqk"],
    k: Float[Array, "B N Dqk"],
    v: Float[Array, "B N Dv"],
    *,
    scale: float = 1.0,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "B N Dv"]:
    """Computes `softmax(scale * q @ k^T) @ v`; see `pallas_kernels.position_attention`.

    It can be differentiated again, but the second derivative stores the N x N weights.
    """
    return _attention(q, k, v, scale, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _attention(q: Array, k: Array, v: Array, scale: float, precision: lax.PrecisionLike) -> Array:
    return _forward(q, k, v, scale, precision)[0]


def _forward(
    q: Array, k: Array, v: Array, scale: float, precision: lax.PrecisionLike
) -> tuple[Array, _Residuals]:
    einsum = _einsum_in(precision)
    count, size = _blocks(q.shape[1])

    def take_queries(i: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
        start = _start(i, size, q.shape[1])
        scores = scale * einsum("bqd,bkd->bqk", _rows(q, start, size), k)  # [B, size, N]
        highest = jnp.max(scores, axis=-1, keepdims=True)  # [B, size, 1]
        weights = jnp.exp(scores - highest)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        out = einsum("bqk,bkd->bqd", weights.astype(v.dtype), v) / total
        rows = (out, highest, jnp.log(total))
        return tuple(_put(x, y, start) for x, y in zip(results, rows, strict=True))

    of_queries = jnp.zeros_like(q[..., :1], _sum_dtype(q))
    results = (jnp.zeros_like(v), of_queries, of_queries)
    out, highest, log_total = lax.fori_loop(0, count, take_queries, results)
    return out, (q, k, v, out, highest, log_total)


def _backward(
    scale: float, precision: lax.PrecisionLike, residuals: _Residuals, d_out: Array
) -> tuple[Array, Array, Array]:
    q, k, v, out, highest, log_total = residuals
    einsum = _einsum_in(precision)
    count, size = _blocks(q.shape[1])
    # sum_k P dP, the term that the normalization adds to the softmax's derivative, without P. It is
    # a dot product because XLA's CPU backend takes forty times as long for the sum of a product.
    correction = einsum("bqd,bqd->bq", d_out, out)[..., None]

    def take_keys(i: Array, results: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        d_q, d_k, d_v = results
        start = _start(i, size, q.shape[1])
        keys = _rows(k, start, size)
        scores = scale * einsum("bqd,bkd->bqk", q, keys)  # [B, N, size]
        weights = jnp.exp(scores - highest - log_total)
        d_weights = einsum("bqd,bkd->bqk", d_out, _rows(v, start, size))
        d_scores = (scale * weights * (d_weights - correction)).astype(q.dtype)
        is_new = start + jnp.arange(size) >= i * size  # not in the block before
        d_q += einsum("bqk,bkd->bqd", d_scores, jnp.where(is_new[:, None], keys, 0))
        d_k = _put(d_k, einsum("bqk,bqd->bkd", d_scores, q), start)
        d_v = _put(d_v, einsum("bqk,bqd->bkd", weights.astype(v.dtype), d_out), start)
        return d_q, d_k, d_v

    results = (jnp.zeros_like(q, _sum_dtype(q)), jnp.zeros_like(k), jnp.zeros_like(v))
    d_q, d_k, d_v = lax.fori_loop(0, count, take_keys, results)
    return d_q.astype(q.dtype), d_k, d_v


_attention.defvjp(_forward, _backward)


def _sum_dtype(x: Array) -> jnp.dtype:
    """Returns the dtype that sums are computed in: at least float32."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def _einsum_in(precision: lax.PrecisionLike) -> Callable[[str, Array, Array], Array]:
    """Returns an einsum with that precision, whose result has the dtype of its sums."""

    def einsum(pattern: str, x: Array, y: Array) -> Array:
        return jnp.einsum(pattern, x, y, precision=precision, preferred_element_type=_sum_dtype(x))

    return einsum


def _blocks(num_positions: int) -> tuple[int, int]:
    """Returns the number of blocks and their size, the same for all so that they overlap least."""
    count = min(-(-num_positions * num_positions // _MAX_BLOCK_SCORES), num_positions)
    return count, -(-num_positions // count)


def _start(i: Array, size: int, num_positions: int) -> Array:
    """Where block i begins. The last one begins early enough to be full: some rows come twice."""
    return jnp.minimum(i * size, num_positions - size)


def _rows(x: Array, start: Array, size: int) -> Array:
    return lax.dynamic_slice_in_dim(x, start, size, axis=1)


def _put(x: Array, rows: Array, start: Array) -> Array:
    return lax.dynamic_update_slice_in_dim(x, rows.astype(x.dtype), start, axis=1)
