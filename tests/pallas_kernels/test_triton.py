"""The GPU kernels, interpreted on a CPU, against float64 NumPy.

The interpreter puts NaN beyond the end of an array, which shows tiles that are read without a mask.
It computes in float32 whatever the precision, so TF32's error does not show.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_kernels.position_attention import position_attention, triton
from pallas_kernels.position_attention.tile_sizes import KernelTiles, TileSizes
from pallas_kernels.position_attention.triton_call import launch

from .definition import (
    TOLERANCES,
    and_gradients,
    arrays,
    assert_matches,
    error,
    numpy_attention,
    with_gradients,
)
from .traced import kernels

# N: one, below, at and above a power of two, primes, and real maps. 713 = 23 x 31, 1681 = 41 x 41.
POSITIONS = [1, 7, 16, 63, 64, 65, 100, 713, 1681]
QK_WIDTHS = [1, 8, 16, 48, 128, 256]
V_WIDTHS = [1, 21, 64, 320, 1024, 2048]
# Together they have an array smaller than a tile, several tiles of positions, of q and k (300 is
# more than one) and of v, and a last tile of each that is not full.
SAMPLE = [
    (1, 1, 1, "float32"),
    (7, 128, 21, "float16"),
    (65, 16, 64, "bfloat16"),
    (100, 300, 320, "float32"),
]
BLOCKWISE_SAMPLE = [
    (64, 256, 2048),
    (1681, 1, 1),
    (1681, 128, 320),
    (713, 48, 1024),
    (100, 300, 21),
]
INTERPRETED = "triton_interpret"

# An interpreted kernel takes seconds to compile and hardly any time to run.
pytestmark = pytest.mark.usefixtures("fast_compile")


def check(name, positions, qk_width, v_width, dtype, scale=1.0, batch=1):
    inputs = arrays(batch, positions, qk_width, v_width, dtype)
    actual = with_gradients(*inputs, scale=scale, implementation=name)
    assert_matches(actual, inputs, name, scale)


@pytest.mark.parametrize(("positions", "qk_width", "v_width", "dtype"), SAMPLE)
def test_sampled_shapes(positions, qk_width, v_width, dtype):
    check(INTERPRETED, positions, qk_width, v_width, dtype, scale=0.7, batch=2)


@pytest.mark.parametrize(("positions", "qk_width", "v_width"), BLOCKWISE_SAMPLE)
def test_sampled_shapes_of_blockwise(positions, qk_width, v_width):
    check("blockwise", positions, qk_width, v_width, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(("qk_width", "v_width"), list(itertools.product(QK_WIDTHS, V_WIDTHS)))
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["blockwise", INTERPRETED])
def test_all_shapes(name, dtype, positions, qk_width, v_width):
    check(name, positions, qk_width, v_width, dtype)


random_shapes = given(
    positions=st.integers(1, 150),
    qk_width=st.integers(1, 300),
    v_width=st.integers(8, 600),  # of fewer columns all of dV may cancel
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    scale=st.floats(0.1, 2),
)
# The same shapes in every run, and no file of earlier failures.
repeatable = functools.partial(settings, deadline=None, derandomize=True, database=None)


@repeatable(max_examples=6)
@random_shapes
def test_random_shapes_of_blockwise(**case):
    check("blockwise", **case)


@repeatable(max_examples=4)
@random_shapes
def test_random_shapes(**case):
    check(INTERPRETED, **case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blockwise", INTERPRETED])
@repeatable(max_examples=50)
@random_shapes
def test_many_random_shapes(name, **case):
    check(name, **case)


@pytest.fixture(scope="module")
def compiled():
    """The kernels for three images of 65 positions, q of width 12 and v of 21, compiled once."""
    attention = functools.partial(position_attention, implementation=INTERPRETED)
    return jax.jit(functools.partial(and_gradients, attention))


@pytest.fixture
def inputs():
    return arrays(3, 65, 12, 21)


def test_equal_rows_give_the_mean(compiled, inputs):
    ones = jnp.ones_like(inputs[0])
    equal = [ones, ones, *inputs[2:]]
    out, d_q, d_k, d_v = compiled(*equal)
    mean = np.asarray(inputs[2], np.float64).mean(axis=1, keepdims=True)
    assert error(out, np.broadcast_to(mean, out.shape)) < 1e-5
    np.testing.assert_allclose(d_q, 0, atol=1e-5)
    for actual, expected in zip((d_k, d_v), numpy_attention(*equal)[2:], strict=True):
        assert error(actual, expected) < 2e-5


@pytest.mark.parametrize("name", ["blockwise", INTERPRETED])
def test_large_scores(name, inputs):
    """Integers, so that the scores themselves are exact in float32: up to 10800."""
    rng = np.random.default_rng(0)
    q, k = rng.integers(-30, 31, (2, *inputs[0].shape)).astype(np.float32)
    q[:, 0], k[:, :2] = 30, 30  # row 0 has two largest scores
    large = [jnp.asarray(q), jnp.asarray(k), *inputs[2:]]
    assert 1e4 < (q @ k.swapaxes(1, 2)).max() < 2e4
    actual = with_gradients(*large, implementation=name)
    for x, expected in zip(actual, numpy_attention(*large), strict=True):
        assert error(x, expected) < 2 * TOLERANCES[name, "float32"]


def test_huge_scores_pick_one_value(compiled, inputs):
    """Scores of 0 and of plus or minus 1e4, whose exponentials are no float32."""
    q = jnp.zeros_like(inputs[0]).at[:, :12].set(1e2 * jnp.eye(12))
    out, *gradients = compiled(q, q, *inputs[2:])
    np.testing.assert_array_equal(out[:, :12], inputs[2][:, :12])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    out, *gradients = compiled(q, -q, *inputs[2:])
    assert all(np.isfinite(x).all() for x in (out, *gradients))


def test_an_image_of_nan_leaves_the_others_alone(compiled, inputs):
    spoiled = [x.at[1:].set(jnp.nan) for x in inputs]
    for clean, beside_nan in zip(compiled(*inputs), compiled(*spoiled), strict=True):
        np.testing.assert_array_equal(clean[0], beside_nan[0])
        assert np.isnan(beside_nan[1:]).all()


def test_a_second_run_gives_the_same_bits(compiled, inputs):
    for first, second in zip(compiled(*inputs), compiled(*inputs), strict=True):
        np.testing.assert_array_equal(first, second)


SMALL_TILES = TileSizes(block_q=16, block_k=32, block_qk=16, block_v=16, num_warps=4, num_stages=1)


def test_a_tile_is_zero_beyond_an_array_where_the_interpreter_has_nan():
    """So the other tests notice a tile that is read without a mask."""

    def kernel(x, loaded, unmasked):
        whole = ((0, 32), (0, 16))
        loaded.store(*whole, jnp.full((32, 16), x.load(*whole).sum()))
        unmasked.store(*whole, jnp.full((32, 16), x.ref[...].sum()))

    like = jax.ShapeDtypeStruct((2, 20, 10), jnp.float32)
    run = functools.partial(launch, kernel, grid=(1, 1), results=[like] * 2, tiles=SMALL_TILES)
    loaded, unmasked = run(jnp.ones(like.shape), name="sum", interpret=True)
    np.testing.assert_array_equal(loaded, np.full(like.shape, 20 * 10))
    assert np.isnan(unmasked).all()


def test_tiles_of_the_caller():
    """Of the smallest size, so that every loop has several rounds."""
    tiles = KernelTiles(forward=SMALL_TILES, d_v=SMALL_TILES, d_q=SMALL_TILES, d_k=SMALL_TILES)
    inputs = arrays(1, 70, 40, 37)
    attention = functools.partial(triton.position_attention, tiles=tiles, interpret=True)
    run = jax.jit(functools.partial(and_gradients, attention))
    assert_matches(run(*inputs), inputs, INTERPRETED)
    # ceil(70 / 16) = 5 or ceil(70 / 32) = 3 rows of programs, ceil(37 / 16) = ceil(40 / 16) = 3.
    grids = {"forward": (5, 3, 1), "d_v": (3, 3, 1), "d_q": (5, 3, 1), "d_k": (3, 3, 1)}
    assert kernels(run, *inputs) == {f"position_attention_{x}": grids[x] for x in grids}


def test_no_second_derivative(inputs):
    q, k, v, _ = inputs

    def loss(q):
        return position_attention(q, k, v, implementation=INTERPRETED).sum()

    def slope(q):
        return jnp.vdot(q, jax.grad(loss)(q))

    assert jax.eval_shape(jax.grad(loss), q).shape == q.shape
    with pytest.raises(TypeError, match="use implementation='blockwise' for second"):
        jax.eval_shape(jax.grad(slope), q)
    with pytest.raises(TypeError, match="use implementation='blockwise'"):
        jax.eval_shape(jax.jacfwd(jax.grad(loss)), q)


@pytest.mark.parametrize(("variance", "bound"), [(1, 1.5e-3), (9, 2e-3), (100, 5e-3), (900, 2e-2)])
def test_what_tensor_cores_cost_float32(variance, bound):
    """TF32 as NumPy would have it: operands of every matmul rounded to 10 bits of mantissa."""

    def rounded(x):
        bits = np.asarray(x, np.float32).view(np.uint32)
        return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)

    def dot(x, y):
        return np.float64(rounded(x)) @ np.float64(rounded(y))

    def transposed(x):
        return x.swapaxes(1, 2)

    inputs = [np.asarray(x) for x in arrays(1, 713, 128, 512, spread=variance**0.25)]
    q, k, v, d_out = inputs
    scores = dot(q, transposed(k))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = dot(weights, v)
    correction = (d_out * out).sum(-1, keepdims=True)
    d_scores = weights * (dot(d_out, transposed(v)) - correction)
    actual = (out, dot(d_scores, k), dot(transposed(d_scores), q), dot(transposed(weights), d_out))
    worst = max(map(error, actual, numpy_attention(*inputs)))
    assert bound / 5 < worst < bound
