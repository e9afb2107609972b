"""Position attention as fused GPU kernels that never store an N x N array: the forward pass.

The kernels are written in Pallas for its Triton backend. A program owns `block_q` queries and
`block_v` columns of the output, and loops over the keys with an online softmax. It also writes each
query's largest score and the logarithm of its softmax's denominator; from these the backward
kernels (`triton_vjp.py`) compute the weights again. No sum uses atomics, so two runs give the same
bits.
"""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.sharding import AxisType
from jaxtyping import Float

from pallas_kernels.position_attention import tile_math, triton_vjp
from pallas_kernels.position_attention.tile_sizes import Gpu, KernelTiles, TileSizes, choose
from pallas_kernels.position_attention.triton_call import View, launch
from pallas_kernels.target import target_platform

_GPUS: dict[str, Gpu] = {"H100": "hopper", "H200": "hopper", "GH200": "hopper", "A100": "ampere"}


def position_attention(
    q: Float[Array, "B N Dqk"],
    k: Float[Array, "B N Dqk"],
    v: Float[Array, "B N Dv"],
    *,
    scale: float = 1.0,
    precision: lax.PrecisionLike = None,
    tiles: KernelTiles | None = None,
    interpret: bool = False,
) -> Float[Array, "B N Dv"]:
    """Computes `softmax(scale * q @ k^T) @ v`; see `pallas_kernels.position_attention`.

    The program is compiled for the GPU that is JAX's default device, or that
    `jax.sharding.use_abstract_mesh` describes. The devices of the arrays are not known when it is
    traced: to compile for the CPU of a machine with a GPU, set the default device or ask for
    `blockwise`. Inside `jax.shard_map` the kernels need `check_vma=False`.

    Args:
      q: queries.
      k: keys.
      v: values.
      scale: factor of the scores.
      precision: of float32 matmuls; None means DEFAULT. As in JAX's own matmuls, all but HIGHEST
        mean TF32, with 10 bits of mantissa. The error, relative to the largest value and in
        gradients too, is then about 1e-3 for scores with a variance of 1 to 9, 4e-3 for 100 and
        1e-2 for 900 (operands rounded in NumPy, N = 713, widths 128 and 512). HIGHEST is true
        float32, without tensor cores: an error below 1e-6 (the kernels on a CPU).
      tiles: sizes to use instead of those chosen for the GPU.
      interpret: whether to run the kernels on a CPU, slowly and in float32, to test them.

    Raises:
      NotImplementedError: there is no GPU, or it is too old; the kernels lack the dtype or the
        precision; the mesh has explicit axes.
    """
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        raise NotImplementedError("the Triton kernels need a mesh whose axes are AxisType.Auto")
    if q.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        raise NotImplementedError(f"{q.dtype}: the Triton kernels take float32 and narrower")
    resolved = _precision(precision)
    if tiles is None:
        gpu = "ampere" if interpret else _gpu()
        tiles = choose(q.shape[1], q.shape[2], v.shape[2], q.dtype, resolved, gpu)
    return _attention(q, k, v, scale, resolved, tiles, interpret)


def _precision(precision: lax.PrecisionLike) -> lax.Precision:
    try:
        return lax.Precision(precision or "default")
    except ValueError:
        raise NotImplementedError(
            f"{precision=}: the Triton kernels take DEFAULT, HIGH and HIGHEST"
        ) from None


def _gpu() -> Gpu:
    """Returns the generation of the GPU that the traced program is for."""
    platform = target_platform()
    if platform != "gpu":
        raise NotImplementedError(
            f"the Triton kernels need a GPU, and this program is for {platform!r}"
        )
    described = jax.sharding.get_abstract_mesh().abstract_device
    there = jax.local_devices()
    kind = there[0].device_kind if described is None else described.device_kind
    device = next((x for x in there if x.device_kind == kind), None)
    # A described GPU has no compute capability to ask for.
    if "NVIDIA" not in kind or (device and float(device.compute_capability) < 8.0):
        raise NotImplementedError(f"{kind}: the Triton kernels need NVIDIA's Ampere or newer")
    # Whole words, since an A1000 is no A100.
    return next((_GPUS[word] for word in re.findall(r"\w+", kind) if word in _GPUS), "ada")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _attention(
    q: Array,
    k: Array,
    v: Array,
    scale: float,
    precision: lax.Precision,
    tiles: KernelTiles,
    interpret: bool,
) -> Array:
    return _forward(q, k, v, scale, precision, tiles, interpret)[0]


def _forward(
    q: Array,
    k: Array,
    v: Array,
    scale: float,
    precision: lax.Precision,
    tiles: KernelTiles,
    interpret: bool,
) -> tuple[Array, triton_vjp.Residuals]:
    sizes = tiles.forward
    out, highest, log_total = launch(
        lambda *views: _forward_kernel(_Views(*views), scale, precision, sizes),
        *(q, k, v),
        grid=(pl.cdiv(q.shape[1], sizes.block_q), pl.cdiv(v.shape[2], sizes.block_v)),
        results=[
            jax.ShapeDtypeStruct(v.shape, v.dtype),
            *[jax.ShapeDtypeStruct(q.shape[:2], jnp.float32)] * 2,
        ],
        tiles=sizes,
        name="position_attention_forward",
        interpret=interpret,
    )
    return out, (q, k, v, out, highest, log_total)


_attention.defvjp(_forward, triton_vjp.backward)


class _Views(NamedTuple):
    """What the kernel reads: q, k and v; and what it writes: the output and the two statistics."""

    q: View
    k: View
    v: View
    out: View
    highest: View
    log_total: View


def _forward_kernel(
    views: _Views, scale: float, precision: lax.Precision, tiles: TileSizes
) -> None:
    positions = views.q.size[0]
    queries = (pl.program_id(0) * tiles.block_q, tiles.block_q)
    columns = (pl.program_id(1) * tiles.block_v, tiles.block_v)
    scores_with_queries = tile_math.scores_with(
        views.q, queries, views.k, tiles.block_qk, scale, precision
    )

    def take_keys(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        out, highest, total = carry
        keys = (i * tiles.block_k, tiles.block_k)
        weights, rescale, highest, total = tile_math.online_softmax(
            scores_with_queries(keys), highest, total
        )
        v = views.v.load(keys, columns)
        out = out * rescale[:, None] + tile_math.dot(weights.astype(v.dtype), v, precision)
        return out, highest, total

    start = (
        jnp.zeros((tiles.block_q, tiles.block_v), jnp.float32),
        jnp.full(tiles.block_q, -jnp.inf, jnp.float32),
        jnp.zeros(tiles.block_q, jnp.float32),
    )
    out, highest, total = lax.fori_loop(0, pl.cdiv(positions, tiles.block_k), take_keys, start)
    views.out.store(queries, columns, out / total[:, None])

    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        views.highest.store(queries, None, highest)
        views.log_total.store(queries, None, jnp.log(total))
