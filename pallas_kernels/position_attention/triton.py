"""Position attention as fused GPU kernels that never store an N x N array: the forward pass.

Written in Pallas for its Triton backend. A program owns `block_q` queries and `block_v` columns of
the output, and walks over the keys with an online softmax. Beside the output it writes the largest
score and the logarithm of the softmax's denominator, from which the backward kernels
(`triton_vjp.py`) compute the weights anew. Nothing is summed by atomics, so two runs give the same
bits.
"""

import functools
import re

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.sharding import AxisType
from jaxtyping import Float

from pallas_kernels.position_attention import tile_math, triton_vjp
from pallas_kernels.position_attention.tile_sizes import Gpu, KernelTiles, TileSizes, choose
from pallas_kernels.position_attention.triton_call import (
    Ref,
    Size,
    launch,
    load,
    scores_with,
    store,
)
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

    The GPU is the one that the program is compiled for: the one that is JAX's default device, or
    the one that `jax.sharding.use_abstract_mesh` describes. Arrays that stand elsewhere are not
    seen: for a program for the CPU beside a GPU, set the default device or ask for `blockwise`.
    Inside `jax.shard_map` the kernels want `check_vma=False`.

    Args:
      q: queries.
      k: keys.
      v: values.
      scale: factor of the scores.
      precision: of float32 matmuls, None for DEFAULT. As in JAX's own, all but HIGHEST mean TF32,
        with 10 bits of mantissa: an error of about 1e-3 of the largest value, gradients too, where
        scores have a variance of 1 to 9, and of 4e-3 at 100, 1e-2 at 900 (operands rounded so in
        NumPy, N = 713, widths 128 and 512). HIGHEST is true float32, without tensor cores: below
        1e-6 (the kernels on a CPU).
      tiles: sizes to use instead of those chosen for the GPU.
      interpret: whether to run the kernels on a CPU, in float32 and slowly, as a test of them.

    Raises:
      NotImplementedError: no GPU, or one too old; a dtype or precision that is not there; a mesh
        with explicit axes.
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
    """The generation of the GPU that the program being traced will run on."""
    platform = target_platform()
    if platform != "gpu":
        raise NotImplementedError(
            f"the Triton kernels need a GPU, and this program is for {platform!r}"
        )
    described = jax.sharding.get_abstract_mesh().abstract_device
    there = jax.local_devices()
    kind = there[0].device_kind if described is None else described.device_kind
    device = next((x for x in there if x.device_kind == kind), None)
    # A GPU that is only described has no number of its capability.
    if "NVIDIA" not in kind or (device and float(device.compute_capability) < 8.0):
        raise NotImplementedError(f"{kind}: the Triton kernels need NVIDIA's Ampere or newer")
    # By whole words: an A1000 is no A100.
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
    positions, sizes = q.shape[1], tiles.forward
    out, highest, log_total = launch(
        functools.partial(
            _forward_kernel,
            qk_size=q.shape[1:],
            v_size=v.shape[1:],
            scale=scale,
            precision=precision,
            tiles=sizes,
        ),
        q,
        k,
        v,
        grid=(pl.cdiv(positions, sizes.block_q), pl.cdiv(v.shape[2], sizes.block_v)),
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


def _forward_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    out_ref: Ref,
    highest_ref: Ref,
    log_total_ref: Ref,
    *,
    qk_size: Size,
    v_size: Size,
    scale: float,
    precision: lax.Precision,
    tiles: TileSizes,
) -> None:
    positions = qk_size[0]
    queries = (pl.program_id(0) * tiles.block_q, tiles.block_q)
    columns = (pl.program_id(1) * tiles.block_v, tiles.block_v)
    scores_with_queries = scores_with(
        q_ref, queries, k_ref, qk_size, tiles.block_qk, scale, precision
    )

    def take_keys(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        out, highest, total = carry
        keys = (i * tiles.block_k, tiles.block_k)
        weights, rescale, highest, total = tile_math.online_softmax(
            scores_with_queries(keys), highest, total
        )
        v = load(v_ref, v_size, keys, columns)
        out = out * rescale[:, None] + tile_math.dot(weights.astype(v.dtype), v, precision)
        return out, highest, total

    start = (
        jnp.zeros((tiles.block_q, tiles.block_v), jnp.float32),
        jnp.full(tiles.block_q, -jnp.inf, jnp.float32),
        jnp.zeros(tiles.block_q, jnp.float32),
    )
    out, highest, total = lax.fori_loop(0, pl.cdiv(positions, tiles.block_k), take_keys, start)
    store(out_ref, v_size, queries, columns, out / total[:, None])

    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        store(highest_ref, (positions,), queries, None, highest)
        store(log_total_ref, (positions,), queries, None, jnp.log(total))
