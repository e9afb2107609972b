"""What the kernels need of Pallas and of its Triton backend, in one place.

JAX 0.11 marks that backend as deprecated, with no word yet on when it goes. What is here, and the
order of the loops in `triton.py` and `triton_vjp.py`, is what another front end would replace.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton

from pallas_kernels.batch_parallel import batch_parallel
from pallas_kernels.position_attention import tile_math
from pallas_kernels.position_attention.tile_sizes import TileSizes

# Known, and said in the README. Users of this package can do nothing about it.
warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated", DeprecationWarning)

Ref = Any  # Pallas's reference to the whole array of one image, in the GPU's memory
Span = tuple[Array | int, int]  # the first index, and how many
Size = tuple[int, ...]  # of one image's array: N and its width, if it has one

_NO_DERIVATIVE = (
    "the Triton kernels of position attention have a first derivative in reverse mode and no "
    "other: use implementation='blockwise' for second derivatives"
)


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
      kernel: called with a reference to one image of every array and result.
      *arrays: `[B, N]` or `[B, N, D]`.
      grid: programs an image. Those of neighbouring first indices run together.
      results: shapes and dtypes.
      tiles: of this kernel. References are as large as whole tiles; nothing may be read or
        written beyond an array's own size.
      name: in the compiled program.
      interpret: whether to run on a CPU, as plain JAX operations.
    """
    rows = max(tiles.block_q, tiles.block_k)
    columns = max(tiles.block_qk, tiles.block_v)

    def whole(x: jax.ShapeDtypeStruct | Array) -> pl.BlockSpec:
        """One image, and what fills up its last tiles."""
        size = [_round_up(x.shape[1], rows)]
        size += [_round_up(width, columns) for width in x.shape[2:]]
        return pl.BlockSpec((None, *size), lambda i, j, image: (image,) + (0,) * len(size))

    def call(*arrays: Array) -> tuple[Array, ...]:
        batch = arrays[0].shape[0]  # that of one device, under a mesh
        return pl.pallas_call(
            kernel,
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


def load(
    ref: Ref,
    size: Size,
    rows: Span,
    columns: Span | None = None,
    other: float = 0.0,
) -> Array:
    """Reads a tile.

    Args:
      ref: of an image `[N, D]`, or of a number for each position `[N]`.
      size: the image's true shape: N, and D if it has one.
      rows: index of the first row, and how many.
      columns: likewise.
      other: what stands where the tile reaches beyond the image.
    """
    index, mask = _tile(size, rows, columns)
    return pallas_triton.load(ref.at[index], mask=mask, other=None if mask is None else other)


def store(
    ref: Ref,
    size: Size,
    rows: Span,
    columns: Span | None,
    tile: Array,
) -> None:
    """Writes that part of a tile that lies within the image, in the image's dtype."""
    index, mask = _tile(size, rows, columns)
    pallas_triton.store(ref.at[index], tile.astype(ref.dtype), mask=mask)


def _tile(
    size: Size,
    rows: Span,
    columns: Span | None,
) -> tuple[tuple[Any, ...], Array | None]:
    """The slices of a tile, and which of its elements exist; None if all do, whatever the start."""
    spans = [rows] if columns is None else [rows, columns]
    index = tuple(pl.ds(start, length) for start, length in spans)
    mask = None
    for axis, ((start, length), limit) in enumerate(zip(spans, size, strict=True)):
        if limit % length:
            exists = start + jnp.arange(length) < limit
            if len(spans) == 2:
                exists = exists[:, None] if axis == 0 else exists[None, :]
            shape = tuple(length for _, length in spans)
            exists = jnp.broadcast_to(exists, shape)
            mask = exists if mask is None else mask & exists
    return index, mask


def _round_up(size: int, multiple: int) -> int:
    return pl.cdiv(size, multiple) * multiple


def scores_with(
    own_ref: Ref,
    own: Span,
    other_ref: Ref,
    size: Size,
    width: int,
    scale: float,
    precision: lax.Precision,
) -> Callable[[Span], Array]:
    """Returns a function from rows of `other` to their scores with a program's own rows.

    Rows that are not there have a score of -inf. What one tile can hold of the own rows is read
    once; the rest of wider rows is read anew for each tile.

    Args:
      own_ref: q or k, of which the program owns rows.
      own: the rows that it owns.
      other_ref: the other of the two.
      size: of q and k.
      width: columns in a tile.
      scale: factor of the scores.
      precision: of the matmul.
    """
    first = load(own_ref, size, own, (0, width))

    def scores(rows: Span) -> Array:  # [own, rows]
        total = tile_math.dot_transposed(first, load(other_ref, size, rows, (0, width)), precision)
        if size[1] > width:
            rest = product(own_ref, own, other_ref, rows, size, width, precision, first=1)
            total = total + rest
        total = scale * total
        if size[0] % rows[1]:
            exists = rows[0] + jnp.arange(rows[1]) < size[0]
            total = jnp.where(exists[None, :], total, -jnp.inf)
        return total

    return scores


def product(
    x_ref: Ref,
    x_rows: Span,
    y_ref: Ref,
    y_rows: Span,
    size: Size,
    width: int,
    precision: lax.Precision,
    first: int = 0,
) -> Array:
    """Rows of x times rows of y, summed over columns, `width` at a time, from tile `first` on."""

    def add(i: Array, total: Array) -> Array:
        columns = (i * width, width)
        x = load(x_ref, size, x_rows, columns)
        y = load(y_ref, size, y_rows, columns)
        return total + tile_math.dot_transposed(x, y, precision)

    start = jnp.zeros((x_rows[1], y_rows[1]), jnp.float32)
    return lax.fori_loop(first, pl.cdiv(size[1], width), add, start)
