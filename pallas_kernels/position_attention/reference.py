"""Position attention as its equation reads, with the N x N matrix of scores in memory."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def position_attention(
    q: Float[Array, "B N Dqk"],
    k: Float[Array, "B N Dqk"],
    v: Float[Array, "B N Dv"],
    *,
    scale: float = 1.0,
) -> Float[Array, "B N Dv"]:
    """Computes `softmax(scale * q @ k^T) @ v`; see `pallas_kernels.position_attention`."""
    wide = jnp.float64 if q.dtype == jnp.float64 else jnp.float32
    scores = scale * jnp.einsum("bqd,bkd->bqk", q, k, preferred_element_type=wide)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)  # over the keys
    return jnp.einsum("bqk,bkd->bqd", weights, v, preferred_element_type=wide).astype(v.dtype)
