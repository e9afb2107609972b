"""Position attention: every position of a feature map looks at every other one.

One public function, `position_attention`, in front of interchangeable implementations. They
compute the same function of the same arrays and differ in speed and memory alone; the tests hold
every one of them to a float64 computation in NumPy.
"""

import functools
from collections.abc import Callable

import jax
from jax import Array, lax
from jaxtyping import Float

from pallas_kernels.position_attention import blockwise, reference, triton

__all__ = ["IMPLEMENTATIONS", "position_attention"]

# In order of preference. An implementation that cannot take a case, such as a GPU kernel on a CPU,
# raises NotImplementedError, and the next one is tried. `blockwise` takes every case; what follows
# is there to be asked for by name: the plain definition, and the kernels interpreted on a CPU.
IMPLEMENTATIONS: dict[str, Callable[..., Array]] = {
    "triton": triton.position_attention,
    "blockwise": blockwise.position_attention,
    "reference": reference.position_attention,
    "triton_interpret": functools.partial(triton.position_attention, interpret=True),
}

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
      q: queries; row i asks what output row i is made of.
      k: keys, of the queries' shape.
      v: values; their width may differ.
      scale: factor of the scores, before the softmax; a number that is known when traced.
      precision: of the matmuls, as everywhere in JAX; None means `jax.default_matmul_precision`.
      implementation: a name in `IMPLEMENTATIONS`, or None for the first that takes the case.

    Returns:
      For every query a weighted mean of the values, in their dtype. The softmax is computed in
      float32 for narrower inputs.

    Raises:
      ValueError: unknown implementation; shapes or dtypes that do not fit together.
      NotImplementedError: the implementation asked for by name cannot take this case.
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
    for candidate in IMPLEMENTATIONS.values():
        try:
            return candidate(q, k, v, scale=scale, precision=precision)
        except NotImplementedError:
            continue
    raise NotImplementedError(f"no implementation takes q {q.shape} {q.dtype}, v {v.shape}")


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
