"""Position attention in plain XLA whose memory grows with N, not with N^2.

Queries are taken a block at a time, so only `block x N` scores exist at any moment. The forward
pass saves, beside its inputs and its output, one number a query: the logarithm of the softmax's
denominator. From it the backward pass computes the weights of a block anew, as in FlashAttention
(Dao et al., 2022, section 3.1 and appendix B).

Where one block holds all queries, the loop has one round, and XLA removes it.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

# Scores of one block and one image: 4 MiB in float32. N up to 1024 is one block.
_MAX_BLOCK_SCORES = 1 << 20

_Residuals = tuple[Array, Array, Array, Array, Array]


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
    num_positions = q.shape[1]
    einsum = _einsum_in(precision)

    def block_forward(q: Array) -> tuple[Array, Array]:  # [B, block, Dqk]
        scores = scale * einsum("bqd,bkd->bqk", q, k)  # [B, block, N]
        highest = jnp.max(scores, axis=-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        out = einsum("bqk,bkd->bqd", weights.astype(v.dtype), v) / total
        return out.astype(v.dtype), highest + jnp.log(total)

    out, log_total = lax.map(block_forward, _split(q))
    out, log_total = _join(out, num_positions), _join(log_total, num_positions)
    return out, (q, k, v, out, log_total)


def _backward(
    scale: float, precision: lax.PrecisionLike, residuals: _Residuals, d_out: Array
) -> tuple[Array, Array, Array]:
    q, k, v, out, log_total = residuals
    einsum = _einsum_in(precision)
    # sum_k P dP, the term that the normalization adds to the softmax's derivative, without P.
    correction = jnp.sum(
        d_out.astype(log_total.dtype) * out.astype(log_total.dtype), axis=-1, keepdims=True
    )

    def block_backward(
        d_kv: tuple[Array, Array], block: tuple[Array, Array, Array, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        q, d_out, log_total, correction = block
        weights = jnp.exp(scale * einsum("bqd,bkd->bqk", q, k) - log_total)  # [B, block, N]
        d_weights = einsum("bqd,bkd->bqk", d_out, v)
        d_scores = (scale * weights * (d_weights - correction)).astype(q.dtype)
        d_k, d_v = d_kv
        d_k += einsum("bqk,bqd->bkd", d_scores, q)
        d_v += einsum("bqk,bqd->bkd", weights.astype(v.dtype), d_out)
        return (d_k, d_v), einsum("bqk,bkd->bqd", d_scores, k).astype(q.dtype)

    zeros = (jnp.zeros(k.shape, log_total.dtype), jnp.zeros(v.shape, log_total.dtype))
    # Rows that fill up the last block have q, d_out and correction 0: they add exactly nothing.
    blocks = (_split(q), _split(d_out), _split(log_total), _split(correction))
    (d_k, d_v), d_q = lax.scan(block_backward, zeros, blocks)
    return _join(d_q, q.shape[1]), d_k.astype(k.dtype), d_v.astype(v.dtype)


_attention.defvjp(_forward, _backward)


def _einsum_in(precision: lax.PrecisionLike) -> Callable[[str, Array, Array], Array]:
    """Einsum that sums in float32, and returns it, for narrower inputs too."""

    def einsum(pattern: str, x: Array, y: Array) -> Array:
        wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        return jnp.einsum(pattern, x, y, precision=precision, preferred_element_type=wide)

    return einsum


def _split(x: Array) -> Array:
    """[B, N, D] -> [blocks, B, block, D], filled up with zeros at the end."""
    batch, num_positions, width = x.shape
    num_blocks = -(-num_positions * num_positions // _MAX_BLOCK_SCORES)
    num_blocks = min(num_blocks, num_positions)
    block = -(-num_positions // num_blocks)  # equal blocks: fewer than num_blocks rows are wasted
    x = jnp.pad(x, ((0, 0), (0, num_blocks * block - num_positions), (0, 0)))
    return jnp.moveaxis(x.reshape(batch, num_blocks, block, width), 1, 0)


def _join(blocks: Array, num_positions: int) -> Array:
    """[blocks, B, block, D] -> [B, N, D]: undoes `_split`."""
    num_blocks, batch, block, width = blocks.shape
    x = jnp.moveaxis(blocks, 0, 1).reshape(batch, num_blocks * block, width)
    return x[:, :num_positions]
