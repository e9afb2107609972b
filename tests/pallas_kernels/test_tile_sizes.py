"""Tile sizes: what is refused, and what the chosen ones cost in arithmetic.

Whether they fit is what `make gpu-check` finds out.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.described_gpu import matmuls
from pallas_kernels.position_attention import position_attention, tile_sizes
from pallas_kernels.position_attention.shapes import SHAPES
from pallas_kernels.position_attention.tile_sizes import TileSizes

from .definition import and_gradients
from .traced import described_gpu

GPUS = ("hopper", "ampere", "ada")
NUMERICS = {
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
    "tf32": (jnp.float32, lax.Precision.DEFAULT),
    "float32": (jnp.float32, lax.Precision.HIGHEST),
}
CHOICES = list(itertools.product(GPUS, NUMERICS))
KERNELS = ("forward", "d_v", "d_q", "d_k")


def make(**sizes):
    some = {"block_q": 64, "block_k": 32, "block_qk": 128, "block_v": 256}
    return TileSizes(**{**some, "num_warps": 8, "num_stages": 2, **sizes})


def choose(shape, numerics, gpu):
    dtype, precision = NUMERICS[numerics]
    return tile_sizes.choose(shape.positions, shape.qk_width, shape.v_width, dtype, precision, gpu)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"block_q": 48}, "block_q=48: expected a power of two, at least 16"),
        ({"block_k": 8}, "block_k=8: expected a power of two, at least 16"),
        ({"block_qk": 0}, "block_qk=0: expected a power of two, at least 16"),
        ({"block_v": -64}, "block_v=-64: expected a power of two, at least 16"),
        ({"num_warps": 3}, "num_warps=3: expected 1, 2, 4, 8 or 16"),
        ({"num_warps": 32}, "num_warps=32: expected 1, 2, 4, 8 or 16"),
        ({"num_stages": 0}, "num_stages=0: expected 1 or more"),
    ],
)
def test_sizes_that_no_compiler_takes_are_named(sizes, expected):
    with pytest.raises(ValueError, match=f"^{expected}$"):
        make(**sizes)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 1, 1), {"block_q": 16, "block_k": 16, "block_qk": 16, "block_v": 16}),
        ((16, 17, 64), {"block_q": 16, "block_k": 16, "block_qk": 32, "block_v": 64}),
        ((33, 65, 129), {}),  # the next power of two is the tile's, or above it
        ((1681, 300, 2048), {}),
    ],
)
def test_no_tile_holds_padding_alone(shape, expected):
    assert make().shrink_to(*shape) == make(**expected)


def test_multiply_adds_by_hand():
    """Four programs share the output's 2048 columns; each computes the scores of width 256."""
    shape = dataclasses.replace(SHAPES["voc_sa2"], batch=1)
    arguments = [
        jax.ShapeDtypeStruct((shape.batch, shape.positions, width), jnp.bfloat16)
        for width in (shape.qk_width, shape.qk_width, shape.v_width, shape.v_width)
    ]
    with described_gpu():
        jaxpr = jax.make_jaxpr(functools.partial(and_gradients, position_attention))(*arguments)
    pairs = 1728 * 1696  # 27 tiles of 64 queries, 53 of 32 keys: 1681 and what fills the last
    pairs_of_64 = 1728 * 1728
    assert {
        name: sum(matmul.size * matmul.times for matmul in found)
        for name, found in matmuls.in_kernels(jaxpr.jaxpr).items()
    } == {
        "position_attention_forward": pairs * (4 * 256 + 2048),
        "position_attention_d_v": pairs * (4 * 256 + 2048),
        "position_attention_d_q": pairs_of_64 * (256 + 2048 + 256),
        "position_attention_d_k": pairs_of_64 * (256 + 2048 + 256),
    }


@pytest.mark.parametrize(
    ("dtype", "precision", "expected"),
    [
        (jnp.bfloat16, lax.Precision.DEFAULT, "bfloat16"),
        (jnp.bfloat16, lax.Precision.HIGHEST, "bfloat16"),
        (jnp.float16, lax.Precision.HIGHEST, "bfloat16"),
        (jnp.float32, lax.Precision.DEFAULT, "tf32"),
        (jnp.float32, lax.Precision.HIGH, "tf32"),
        (jnp.float32, lax.Precision.HIGHEST, "float32"),
    ],
)
def test_what_the_matmuls_compute_in(dtype, precision, expected):
    assert tile_sizes.numerics(dtype, precision) == expected
    by_numerics = tile_sizes.choose(1681, 256, 2048, *NUMERICS[expected], "hopper")
    assert tile_sizes.choose(1681, 256, 2048, dtype, precision, "hopper") == by_numerics


def test_narrow_inputs_take_wider_tiles_than_float32_on_hopper():
    widths = [
        choose(SHAPES["voc_sa2"], numerics, "hopper").forward.block_v
        for numerics in ("bfloat16", "tf32", "float32")
    ]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


@pytest.mark.parametrize(("gpu", "numerics"), CHOICES)
def test_chosen_tiles_of_small_arrays_are_small(gpu, numerics):
    dtype, precision = NUMERICS[numerics]
    tiles = tile_sizes.choose(1, 1, 1, dtype, precision, gpu)
    for kernel in KERNELS:
        sizes = getattr(tiles, kernel)
        assert sizes.block_q == sizes.block_k == sizes.block_qk == sizes.block_v == 16
