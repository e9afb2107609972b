"""Position attention: every position of a feature map looks at every other one.

The one public function, `position_attention`, calls one of several implementations. All compute the
same result and differ only in speed and memory; the tests compare each of them with float64 NumPy.
"""

import functools
import logging
import math
from collections.abc import Callable

import jax
from jax import Array, lax
from jaxtyping import Float

from pallas_kernels.position_attention import blockwise, reference, triton
from pallas_kernels.target import target_devices, target_platform

__all__ = ["IMPLEMENTATIONS", "position_attention"]

# All that a caller may name. An implementation that cannot take a case, such as a GPU kernel on a
# CPU, raises NotImplementedError.
IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "triton": triton.position_attention,
    "blockwise": blockwise.position_attention,
    "reference": reference.position_attention,
    "triton_interpret": functools.partial(triton.position_attention, interpret=True),
}

# A program for a GPU stores the scores if those of a device's own images take at most this many
# bytes. On an H200 the plain formula took 0.12 to 0.72 of the kernels' time (docs/attention.md):
# they save memory alone.
STORED_SCORES = 2**30

_logger = logging.getLogger(__name__)

DTYPES = ("float16", "bfloat16", "float32", "float64")


def position_attention(
    q: Float[Array, "B N Dqk"],
    k: Float[Array, "B N Dqk"],
    v: Float[Array, "B N Dv"],
    *,
    scale: float = 1.0,
    precision: lax.PrecisionLike = None,
    implementation: str | None = None,
) -> Float[Array, "B N Dv"]:
    """Computes `softmax(scale * q @ k^T) @ v`, where the softmax runs over the N positions of k.

    This is equation (6) and the sum of equation (7) of the paper (DANet, section 3.2), which
    leave out the scale of 1/sqrt(Dqk) that other attention has; hence the default.

    >>> import jax.numpy as jnp
    >>> q, v = jnp.zeros((1, 3, 2)), jnp.arange(3.0).reshape(1, 3, 1)
    >>> position_attention(q, q, v)[0, :, 0]  # equal scores: the mean over the positions
    Array([1., 1., 1.], dtype=float32)

    Args:
      q: queries, one for each row of the output.
      k: keys.
      v: values.
      scale: factor of the scores, before the softmax; a number, not a traced array.
      precision: of the matmuls, as everywhere in JAX; None means `jax.default_matmul_precision`.
      implementation: a name in `IMPLEMENTATIONS`. With None, a program for a GPU gets `reference`,
        the fastest there, while the scores take at most `STORED_SCORES` bytes on each device. Under
        a mesh (see `jax.sharding.use_abstract_mesh`) its devices are taken to share the B images.
        Beyond that it gets `triton`, where that takes the case. All other programs get
        `blockwise`. The reason for passing `triton` over is logged at debug level.

    Returns:
      For every query a weighted mean of the values, in their dtype. The softmax is computed in
      float32, or in float64 for float64 inputs.

    Raises:
      ValueError: unknown implementation; shapes or dtypes that do not fit together.
      NotImplementedError: the named implementation cannot take this case.
    """
    _check(q, k, v)
    scale = float(scale)
    if precision is None:  # now: the backward pass may be traced where another default holds
        default = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        precision = default or lax.Precision.DEFAULT
    if implementation is not None:
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(
                f"{implementation=}: expected None or one of {', '.join(sorted(IMPLEMENTATIONS))}"
            )
        return IMPLEMENTATIONS[implementation](q, k, v, scale=scale, precision=precision)
    images = math.ceil(q.shape[0] / target_devices())  # of one device
    scores = images * q.shape[1] ** 2 * max(q.dtype.itemsize, 4)  # the softmax is in float32
    if target_platform() == "gpu" and scores <= STORED_SCORES:
        return reference.position_attention(q, k, v, scale=scale, precision=precision)
    try:
        return triton.position_attention(q, k, v, scale=scale, precision=precision)
    except NotImplementedError as reason:
        _logger.debug("triton does not take q %s %s: %s", q.shape, q.dtype, reason)
    return blockwise.position_attention(q, k, v, scale=scale, precision=precision)


def _check(q: Array, k: Array, v: Array) -> None:
    """Raises ValueError where q, k and v do not fit together."""
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if q.ndim != 3 or k.shape != q.shape or v.ndim != 3 or v.shape[:2] != q.shape[:2]:
        raise ValueError(f"{shapes}: expected q and k [B, N, Dqk] and v [B, N, Dv]")
    if 0 in q.shape + v.shape:
        raise ValueError(f"{shapes}: expected no empty axis")
    if not q.dtype == k.dtype == v.dtype or q.dtype not in DTYPES:
        raise ValueError(
            f"q {q.dtype}, k {k.dtype}, v {v.dtype}: expected one dtype for all, of "
            f"{', '.join(DTYPES)}"
        )
