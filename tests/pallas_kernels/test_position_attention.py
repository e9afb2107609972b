"""Every implementation of position attention against float64 NumPy, and what else it promises."""

import dataclasses
import doctest
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

import pallas_kernels.position_attention as package
from pallas_kernels.position_attention import IMPLEMENTATIONS, blockwise, position_attention
from pallas_kernels.position_attention.shapes import SHAPES

NAMES = sorted(IMPLEMENTATIONS)
# N: alone, below, at and above a power of two, primes, and real maps. 713 = 23 x 31.
POSITIONS = [1, 7, 16, 63, 65, 100, 713]


@pytest.fixture(params=[None, 1 << 10], ids=["one_block", "many_blocks"])
def block_scores(request, monkeypatch):
    """Also runs the loop over blocks, some of them not full, at sizes a test can afford."""
    if request.param is not None:
        monkeypatch.setattr(blockwise, "_MAX_BLOCK_SCORES", request.param)


def arrays(batch, positions, qk_width, v_width, dtype=np.float32, spread=1.0):
    """q, k, v and a cotangent of the output. With spread 1, scores have a variance near 1."""
    rng = np.random.default_rng(positions)
    q, k = rng.normal(size=(2, batch, positions, qk_width)) * spread * qk_width**-0.25
    v, d_out = rng.normal(size=(2, batch, positions, v_width))
    return [jnp.asarray(x, dtype) for x in (q, k, v, d_out)]


def numpy_attention(q, k, v, d_out, scale=1.0):
    """The output and the gradients for q, k, v, in float64."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    scores = scale * np.einsum("bqd,bkd->bqk", q, k)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    d_weights = np.einsum("bqd,bkd->bqk", d_out, v)
    d_scores = scale * weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
    return (
        np.einsum("bqk,bkd->bqd", weights, v),
        np.einsum("bqk,bkd->bqd", d_scores, k),
        np.einsum("bqk,bqd->bkd", d_scores, q),
        np.einsum("bqk,bqd->bkd", weights, d_out),
    )


def with_gradients(q, k, v, d_out, **kwargs):
    @jax.jit
    def run(q, k, v, d_out):
        out, vjp = jax.vjp(functools.partial(position_attention, **kwargs), q, k, v)
        return out, *vjp(d_out)

    return run(q, k, v, d_out)


def error(actual, expected):
    """Largest difference, relative to the largest expected value."""
    actual = np.asarray(actual, np.float64)
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", NAMES)
def test_float32_matches_float64_numpy(name, positions):
    inputs = arrays(2, positions, 8, 24)
    actual = with_gradients(*inputs, scale=0.7, implementation=name)
    expected = numpy_attention(*inputs, scale=0.7)
    assert error(actual[0], expected[0]) < 2e-6
    if positions == 1:  # the softmax of one score is constant
        assert not actual[1].any()
        assert not actual[2].any()
        assert error(actual[3], expected[3]) < 4e-6
    else:
        for gradient, expected_gradient in zip(actual[1:], expected[1:], strict=True):
            assert error(gradient, expected_gradient) < 4e-6


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("positions", [65, 100])
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_as_good_as_its_outputs(name, positions):
    inputs = arrays(2, positions, 16, 32, jnp.bfloat16)
    actual = with_gradients(*inputs, implementation=name)
    for result, expected in zip(actual, numpy_attention(*inputs), strict=True):
        assert result.dtype == jnp.bfloat16
        assert error(result, expected) < 1e-2


@pytest.mark.parametrize("shape", ["camvid_sa1", "voc_sa1"])
def test_real_shapes_agree_with_the_reference(shape):
    shape = dataclasses.replace(SHAPES[shape], batch=1)
    inputs = arrays(shape.batch, shape.positions, shape.qk_width, shape.v_width)
    expected = with_gradients(*inputs, implementation="reference")
    actual = with_gradients(*inputs, implementation="blockwise")
    for result, expected_result in zip(actual, expected, strict=True):
        assert error(result, np.asarray(expected_result, np.float64)) < 4e-6


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_give_the_mean(name):
    _, _, v, d_out = arrays(1, 65, 4, 3)
    q = jnp.ones((1, 65, 4))
    out, *gradients = with_gradients(q, q, v, d_out, implementation=name)
    mean = np.broadcast_to(np.mean(np.asarray(v, np.float64), axis=1, keepdims=True), out.shape)
    assert error(out, mean) < 2e-6
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_huge_scores_pick_one_value(name, dtype):
    """Scores of 1e4 and -1e4, whose exponentials are no float32."""
    positions = 64
    q = 1e2 * jnp.eye(positions, dtype=dtype)[None]
    _, _, v, d_out = arrays(1, positions, 1, 5, dtype)
    for k, expected in ((q, v), (-q[:, ::-1], None)):
        out, *gradients = with_gradients(q, k, v, d_out, implementation=name)
        assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in (out, *gradients))
        if expected is not None:
            np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_gives_the_same_bits(name):
    inputs = arrays(2, 100, 8, 24)
    first = with_gradients(*inputs, implementation=name)
    for a, b in zip(first, with_gradients(*inputs, implementation=name), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("name", NAMES)
def test_can_be_differentiated_twice(name):
    q, k, v, _ = arrays(1, 33, 4, 3)
    attention = jax.jit(functools.partial(position_attention, implementation=name))
    check_grads(attention, (q, k, v), order=2, modes=["rev"], eps=1e-2, atol=2e-2, rtol=2e-2)


@pytest.mark.usefixtures("block_scores")
def test_works_under_vmap_and_remat():
    q, k, v, _ = arrays(6, 65, 4, 3)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2))
    def gradients(q, k, v):
        return jnp.sum(jnp.sin(jax.checkpoint(position_attention)(q, k, v)))

    grouped = [x.reshape(3, 2, *x.shape[1:]) for x in (q, k, v)]
    actual = jax.vmap(gradients)(*grouped)
    for a, b in zip(actual, gradients(q, k, v), strict=True):
        np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("block_scores")
def test_batch_may_be_sharded_over_devices():
    devices = jax.devices()
    inputs = arrays(2 * len(devices), 65, 4, 3)
    sharding = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))
    actual = with_gradients(*jax.device_put(inputs, sharding))
    for result, expected in zip(actual, with_gradients(*inputs), strict=True):
        assert result.sharding.is_equivalent_to(sharding, result.ndim)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def scratch_bytes(function, positions):
    """Memory that the compiled function needs beside its arguments and results."""
    inputs = [jax.ShapeDtypeStruct((1, positions, width), jnp.float32) for width in (8, 8, 16)]
    return jax.jit(function).lower(*inputs).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("backward", [False, True])
def test_memory_of_blockwise_grows_no_faster_than_n(backward):
    def growth(name):
        def attention(q, k, v):
            return position_attention(q, k, v, implementation=name)

        def gradients(q, k, v):
            return jax.grad(lambda *qkv: jnp.sum(attention(*qkv) ** 2), (0, 1, 2))(q, k, v)

        function = gradients if backward else attention
        return scratch_bytes(function, 3072) / scratch_bytes(function, 1024)

    assert growth("blockwise") < 1.5 * 3
    assert growth("reference") > 0.5 * 3**2  # so that the measure is known to see N^2


@pytest.mark.parametrize(
    ("shapes", "dtypes", "expected"),
    [
        (((2, 5, 4), (2, 6, 4), (2, 6, 3)), "fff", r"q \(2, 5, 4\), k \(2, 6, 4\)"),
        (((2, 5, 4), (2, 5, 3), (2, 5, 3)), "fff", r"k \(2, 5, 3\)"),
        (((2, 5, 4), (2, 5, 4), (2, 6, 3)), "fff", r"v \(2, 6, 3\)"),
        (((5, 4), (5, 4), (5, 3)), "fff", r"q \(5, 4\)"),
        (((2, 0, 4), (2, 0, 4), (2, 0, 3)), "fff", "no empty axis"),
        (((2, 5, 4), (2, 5, 4), (2, 5, 3)), "ffe", "v float16"),
    ],
)
def test_inputs_that_do_not_fit_are_named(shapes, dtypes, expected):
    q, k, v = (np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    unchecked = inspect.unwrap(position_attention)  # without the test-time check of annotations
    with pytest.raises(ValueError, match=expected):
        unchecked(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v))


def test_unknown_implementation_is_named():
    q, k, v, _ = arrays(1, 5, 4, 3)
    with pytest.raises(ValueError, match=r"implementation='flash'.*blockwise, reference"):
        position_attention(q, k, v, implementation="flash")


def test_an_implementation_that_declines_is_passed_over(monkeypatch):
    def decline(*_, **__):
        raise NotImplementedError

    q, k, v, _ = arrays(1, 5, 4, 3)
    expected = position_attention(q, k, v, implementation="reference")
    monkeypatch.setitem(IMPLEMENTATIONS, "blockwise", decline)
    np.testing.assert_array_equal(position_attention(q, k, v), expected)
    with pytest.raises(NotImplementedError):
        position_attention(q, k, v, implementation="blockwise")
    monkeypatch.setitem(IMPLEMENTATIONS, "reference", decline)
    with pytest.raises(NotImplementedError, match=r"q \(1, 5, 4\)"):
        position_attention(q, k, v)


def test_examples_in_docstrings():
    assert doctest.testmod(package).failed == 0
