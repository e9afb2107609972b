"""What the kernels need of Pallas and of its Triton backend, in one place.

JAX 0.11 marks that backend as deprecated, and does not say yet when it goes. To move to another
front end means to replace this file and the order of the loops in `triton.py` and `triton_vjp.py`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton

from pallas_kernels.batch_parallel import batch_parallel
from pallas_kernels.position_attention.tile_sizes import TileSizes

Span = tuple[Array | int, int]  # the first index, and how many

_NO_DERIVATIVE = (
    "the Triton kernels of position attention have a first derivative in reverse mode and no "
    "other: use implementation='blockwise' for second derivatives"
)


@dataclasses.dataclass(frozen=True)
class View:
    """One image of an array in the GPU's memory. Kernels read and write tiles of it.

    Attributes:
      ref: Pallas's reference. It is as large as whole tiles: larger than the image.
      size: shape of the image: `(N, D)`, or `(N,)` for one number per position.
    """

    ref: Any
    size: tuple[int, ...]

    def load(self, rows: Span, columns: Span | None = None) -> Array:
        """Reads a tile, which has zeros where it reaches beyond the image.

        Args:
          rows: index of the first row, and how many.
          columns: the same for columns; None for an image without columns.
        """
        index, mask = self._tile(rows, columns)
        return pallas_triton.load(
            self.ref.at[index], mask=mask, other=None if mask is None else 0.0
        )

    def store(self, rows: Span, columns: Span | None, tile: Array) -> None:
        """Writes the part of a tile that lies within the image, in the image's dtype."""
        index, mask = self._tile(rows, columns)
        pallas_triton.store(self.ref.at[index], tile.astype(self.ref.dtype), mask=mask)

    def _tile(self, rows: Span, columns: Span | None) -> tuple[tuple[Any, ...], Array | None]:
        """Slices of a tile, and a mask of its elements that exist; None if all tiles are full."""
        spans = [rows] if columns is None else [rows, columns]
        index = tuple(pl.ds(start, length) for start, length in spans)
        mask = None
        for axis, ((start, length), limit) in enumerate(zip(spans, self.size, strict=True)):
            if limit % length:
                exists = start + jnp.arange(length) < limit
                if len(spans) == 2:
                    exists = exists[:, None] if axis == 0 else exists[None, :]
                exists = jnp.broadcast_to(exists, tuple(length for _, length in spans))
                mask = exists if mask is None else mask & exists
        return index, mask


def launch(
    kernel: Callable[..., None],
    *arrays: Array,
    grid: tuple[int, int],
    results: Sequence[jax.ShapeDtypeStruct],
    tiles: TileSizes,
    name: str,
    interpret: bool,
) -> tuple[Array, ...]:
    """Runs a kernel program for every cell of the grid and every image.

    Args:
      kernel: called with a `View` of one image of every array, then of every result.
      *arrays: `[B, N]` or `[B, N, D]`.
      grid: number of programs per image. Programs with neighbouring first indices run together.
      results: shapes and dtypes of the results.
      tiles: sizes of this kernel's tiles.
      name: the kernel's name in the compiled program.
      interpret: whether to run on a CPU, as plain JAX operations.
    """
    rows = max(tiles.block_q, tiles.block_k)
    columns = max(tiles.block_qk, tiles.block_v)

    def whole(x: jax.ShapeDtypeStruct | Array) -> pl.BlockSpec:
        """One image, rounded up to whole tiles."""
        size = [pl.cdiv(x.shape[1], rows) * rows]
        size += [pl.cdiv(width, columns) * columns for width in x.shape[2:]]
        return pl.BlockSpec((None, *size), lambda i, j, image: (image,) + (0,) * len(size))

    def run(*refs: Any) -> None:
        sizes = [x.shape[1:] for x in arrays] + [x.shape[1:] for x in results]
        kernel(*map(View, refs, sizes))

    def call(*arrays: Array) -> tuple[Array, ...]:
        batch = arrays[0].shape[0]  # under a mesh, that of one device
        return pl.pallas_call(
            run,
            grid=(*grid, batch),
            in_specs=[whole(x) for x in arrays],
            out_specs=[whole(x) for x in results],
            out_shape=[jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in results],
            compiler_params=pallas_triton.CompilerParams(
                num_warps=tiles.num_warps, num_stages=tiles.num_stages
            ),
            name=name,
            interpret=interpret,
        )(*arrays)

    return batch_parallel(call, len(results), _NO_DERIVATIVE)(*arrays)
