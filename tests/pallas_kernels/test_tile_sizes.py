"""Tile sizes: what is refused, and what the chosen ones cost in arithmetic.

Whether they fit is what `make gpu-check` finds out.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.described_gpu import matmuls
from pallas_kernels.position_attention import position_attention, tile_sizes
from pallas_kernels.position_attention.tile_sizes import TileSizes

from .definition import and_gradients
from .traced import described_gpu

GPUS = ("hopper", "ampere", "ada")
NUMERICS = {
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
    "tf32": (jnp.float32, lax.Precision.DEFAULT),
    "float32": (jnp.float32, lax.Precision.HIGHEST),
}
SHAPES = [(1, 1, 1), (100, 12, 21), (690, 64, 512), (1681, 256, 2048), (1681, 2048, 2048)]
KERNELS = ("forward", "d_v", "d_q", "d_k")


def make(**sizes):
    some = {"block_q": 64, "block_k": 32, "block_qk": 128, "block_v": 256}
    return TileSizes(**{**some, "num_warps": 8, "num_stages": 2, **sizes})


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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gpu", "numerics"), list(itertools.product(GPUS, NUMERICS)))
def test_at_least_half_of_a_tile_is_used(gpu, numerics, shape):
    """Except where a tile has the least size."""
    positions, qk_width, v_width = shape
    tiles = tile_sizes.choose(*shape, *NUMERICS[numerics], gpu)
    for kernel in KERNELS:
        sizes = getattr(tiles, kernel)
        assert max(sizes.block_q, sizes.block_k) <= max(16, 2 * positions - 1)
        assert sizes.block_qk <= max(16, 2 * qk_width - 1)
        assert sizes.block_v <= max(16, 2 * v_width - 1)


def multiply_adds(dtype, precision=None):
    """Multiply-adds of each kernel at N = 1681, widths 256 and 2048, for an H100."""
    attention = functools.partial(position_attention, precision=precision, implementation="triton")
    arguments = [jax.ShapeDtypeStruct((1, 1681, x), dtype) for x in (256, 256, 2048, 2048)]
    with described_gpu():
        jaxpr = jax.make_jaxpr(functools.partial(and_gradients, attention))(*arguments)
    return {
        name.removeprefix("position_attention_"): sum(x.size * x.times for x in found)
        for name, found in matmuls.in_kernels(jaxpr.jaxpr).items()
    }


def test_multiply_adds_by_hand():
    """Four programs share the output's 2048 columns; each computes the scores of width 256."""
    pairs = 1728 * 1696  # 27 tiles of 64 queries, 53 of 32 keys: 1681 and what fills the last
    pairs_of_64 = 1728 * 1728
    assert multiply_adds("bfloat16") == {
        "forward": pairs * (4 * 256 + 2048),
        "d_v": pairs * (4 * 256 + 2048),
        "d_q": pairs_of_64 * (256 + 2048 + 256),
        "d_k": pairs_of_64 * (256 + 2048 + 256),
    }


def test_narrower_numbers_take_fewer_multiply_adds():
    """Their tiles are wider, so fewer programs compute the same scores."""
    counts = [
        multiply_adds(*x)["forward"]
        for x in (("bfloat16",), ("float32", "high"), ("float32", "highest"))
    ]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("precision", ["default", "high", "highest"])
def test_precision_matters_for_float32_alone(precision):
    assert multiply_adds("float16", precision) == multiply_adds("bfloat16")
    highest_differs = multiply_adds("float32", precision) != multiply_adds("float32")
    assert highest_differs == (precision == "highest")
