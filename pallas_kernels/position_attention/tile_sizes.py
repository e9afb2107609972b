"""Sizes of the tiles that the GPU kernels work on, and which sizes fit which GPU.

A kernel program owns `block_q` queries (or `block_k` keys) and loops over the keys (or queries),
`block_k` (or `block_q`) at a time.

V is too wide to be accumulated at once. So a program of the forward and dV kernels owns `block_v`
of its columns, and programs for other columns compute the same scores again: a smaller `block_v`
costs multiply-adds, a larger one registers. A program of the dQ and dK kernels owns `block_qk`
columns of the result, which is all of them up to 256, and sums over V's columns, `block_v` at a
time, at no extra cost. Wider Q and K cost more: at 2048 columns a kernel takes 2.6 to 11.2 times
the fewest multiply-adds.

`make gpu-check` compiles every choice at many shapes and fails where a register is spilled.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Gpu = Literal["hopper", "ampere", "ada"]
Numerics = Literal["bfloat16", "tf32", "float32"]

_SMALLEST = 16  # what a tensor core takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class TileSizes:
    """Sizes of one kernel's tiles.

    Attributes:
      block_q: queries in a tile.
      block_k: keys in a tile.
      block_qk: columns of q and k in a tile. The scores of wider q and k are summed over tiles.
      block_v: columns of v and of the output in a tile. The dQ and dK kernels also sum their scores
        over this many columns of q and k at a time.
      num_warps: groups of 32 threads that share a program.
      num_stages: how many tiles the compiler loads ahead.

    Raises:
      ValueError: the compiler does not take such a size.
    """

    block_q: int
    block_k: int
    block_qk: int
    block_v: int
    num_warps: int
    num_stages: int

    def __post_init__(self) -> None:
        for name in ("block_q", "block_k", "block_qk", "block_v"):
            size = getattr(self, name)
            if size < _SMALLEST or size & (size - 1):
                raise ValueError(f"{name}={size}: expected a power of two, at least {_SMALLEST}")
        if self.num_warps not in (1, 2, 4, 8, 16):
            raise ValueError(f"num_warps={self.num_warps}: expected 1, 2, 4, 8 or 16")
        if self.num_stages < 1:
            raise ValueError(f"num_stages={self.num_stages}: expected 1 or more")

    def shrink_to(self, positions: int, qk_width: int, v_width: int) -> "TileSizes":
        """Returns the sizes, each halved while half of a tile would hold padding alone."""
        return dataclasses.replace(
            self,
            block_q=min(self.block_q, _power_of_two(positions)),
            block_k=min(self.block_k, _power_of_two(positions)),
            block_qk=min(self.block_qk, _power_of_two(qk_width)),
            block_v=min(self.block_v, _power_of_two(v_width)),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelTiles:
    """The tile sizes of each kernel."""

    forward: TileSizes
    d_v: TileSizes
    d_q: TileSizes
    d_k: TileSizes


# Tensor cores do not multiply true float32: every operand passes through registers.
_FLOAT32 = (
    (32, 32, 256, 128, 8, 2),
    (32, 32, 256, 128, 8, 1),
    (32, 32, 256, 16, 8, 2),
    (32, 32, 256, 16, 8, 2),
)
_NARROW = (  # bfloat16 on ampere and ada
    (64, 32, 256, 256, 8, 2),
    (32, 64, 256, 256, 8, 2),
    (64, 64, 256, 64, 8, 2),
    (64, 64, 256, 64, 8, 2),
)
# block_q, block_k, block_qk, block_v, num_warps, num_stages; of the forward, dV, dQ, dK kernels.
_TABLE: dict[tuple[Gpu, Numerics], tuple[tuple[int, int, int, int, int, int], ...]] = {
    ("hopper", "bfloat16"): (
        (64, 32, 256, 512, 8, 2),
        (32, 64, 256, 512, 8, 2),
        (64, 64, 256, 64, 8, 2),
        (64, 64, 256, 64, 8, 2),
    ),
    ("hopper", "tf32"): (
        (64, 32, 256, 256, 8, 2),
        (32, 64, 128, 256, 8, 2),
        (64, 32, 256, 32, 8, 2),
        (32, 64, 256, 32, 8, 2),
    ),
    ("ampere", "bfloat16"): _NARROW,
    ("ampere", "tf32"): (
        (64, 32, 256, 256, 8, 2),
        (32, 64, 256, 256, 8, 2),
        (64, 32, 256, 32, 8, 2),
        (32, 64, 256, 32, 8, 2),
    ),
    ("ada", "tf32"): (
        (64, 32, 256, 256, 8, 1),
        (32, 64, 256, 256, 8, 1),
        (64, 32, 256, 32, 8, 2),
        (32, 64, 256, 32, 8, 2),
    ),
    ("ada", "bfloat16"): _NARROW,
    ("hopper", "float32"): _FLOAT32,
    ("ampere", "float32"): _FLOAT32,
    ("ada", "float32"): _FLOAT32,
}

# Above this width Q and K are read in pieces, one at a time, in a loop of their own. The largest
# `block_qk` that then fits: first in the forward and dV kernels, then in the dQ and dK kernels.
_WIDEST = 256
_PIECES: dict[Numerics, tuple[int, int]] = {
    "bfloat16": (128, 256),
    "tf32": (64, 256),
    "float32": (64, 128),
}


def choose(
    positions: int,
    qk_width: int,
    v_width: int,
    dtype: jax.typing.DTypeLike,
    precision: lax.Precision,
    gpu: Gpu,
) -> KernelTiles:
    """Returns tile sizes for every kernel, as large as fit.

    Args:
      positions: N, the rows of q, k and v.
      qk_width: columns of q and k.
      v_width: columns of v.
      dtype: of q, k and v; a float of at most 32 bits.
      precision: of the matmuls; it matters for float32 alone.
      gpu: generation; "ada" stands for all that have 99 KiB of shared memory.
    """
    names = ("block_q", "block_k", "block_qk", "block_v", "num_warps", "num_stages")
    kernels = ("forward", "d_v", "d_q", "d_k")
    kind = numerics(dtype, precision)
    tiles = {}
    for kernel, sizes in zip(kernels, _TABLE[gpu, kind], strict=True):
        tile = TileSizes(**dict(zip(names, sizes, strict=True)))
        if qk_width > _WIDEST:
            piece = _PIECES[kind][kernel in ("d_q", "d_k")]
            tile = dataclasses.replace(tile, block_qk=piece, num_stages=1)
        tiles[kernel] = tile.shrink_to(positions, qk_width, v_width)
    return KernelTiles(**tiles)


def numerics(dtype: jax.typing.DTypeLike, precision: lax.Precision) -> Numerics:
    """Returns what the matmuls compute in: float32 is multiplied as TF32 unless forbidden."""
    if jnp.dtype(dtype).itemsize < 4:
        return "bfloat16"
    return "float32" if precision == lax.Precision.HIGHEST else "tf32"


def _power_of_two(size: int) -> int:
    """Returns the smallest power of two that is at least the size and at least a tile's least."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())
