"""Position attention written like its equation, with the N x N matrix of scores in memory."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float


def position_attention(
    q: Float[Array, "B N Dqk"],
    k: Float[Array, "B N Dqk"],
    v: Float[Array, "B N Dv"],
    *,
    scale: float = 1.0,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "B N Dv"]:
    """Computes `softmax(scale * q @ k^T) @ v`; see `pallas_kernels.position_attention`."""
    wide = jnp.float64 if q.dtype == jnp.float64 else jnp.float32
    einsum = functools.partial(jnp.einsum, precision=precision, preferred_element_type=wide)
    scores = scale * einsum("bqd,bkd->bqk", q, k)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)  # over the keys
    return einsum("bqk,bkd->bqd", weights, v).astype(v.dtype)
