"""The implementations in plain XLA against float64 NumPy, and what the public function promises.

The kernels are in `test_triton.py`.
"""

import doctest
import functools
import inspect
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

import pallas_kernels.position_attention as package
from pallas_kernels.position_attention import blockwise, position_attention

from .definition import arrays, assert_matches, error, with_gradients

NAMES = ["blockwise", "reference"]
# N: one, below, at and above a power of two, primes, and real maps. 713 = 23 x 31.
POSITIONS = [1, 7, 16, 63, 65, 100, 713]


@pytest.fixture(params=[None, 1 << 10], ids=["one_block", "many_blocks"])
def block_scores(request, monkeypatch):
    """Also runs the loop over blocks, some of them not full, at small sizes."""
    if request.param is not None:
        monkeypatch.setattr(blockwise, "_MAX_BLOCK_SCORES", request.param)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("name", NAMES)
def test_float32_matches_float64_numpy(name, positions):
    inputs = arrays(2, positions, 8, 24)
    actual = with_gradients(*inputs, scale=0.7, implementation=name)
    assert_matches(actual, inputs, name, scale=0.7)


@pytest.mark.usefixtures("block_scores")
@pytest.mark.parametrize("positions", [65, 100])
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_as_good_as_its_outputs(name, positions):
    inputs = arrays(2, positions, 16, 32, jnp.bfloat16)
    assert_matches(with_gradients(*inputs, implementation=name), inputs, name)


@pytest.mark.parametrize("sizes", [(690, 64, 512), (1681, 128, 1024)])
def test_real_sizes_agree_with_the_reference(sizes):
    inputs = arrays(1, *sizes)
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


def test_blockwise_can_be_exported_for_every_platform_and_batch():
    inputs = arrays(3, 65, 4, 8)[:3]
    attention = functools.partial(position_attention, implementation="blockwise")
    (batch,) = export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in inputs]
    exported = export.export(jax.jit(attention), platforms=("cpu", "cuda", "tpu"))(*shapes)
    np.testing.assert_allclose(exported.call(*inputs), attention(*inputs), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "expected"),
    [
        (((2, 5, 4), (2, 6, 4), (2, 6, 3)), "fff", r"q \(2, 5, 4\), k \(2, 6, 4\)"),
        (((2, 5, 4), (2, 5, 3), (2, 5, 3)), "fff", r"k \(2, 5, 3\)"),
        (((2, 5, 4), (2, 5, 4), (2, 6, 3)), "fff", r"v \(2, 6, 3\)"),
        (((5, 4), (5, 4), (5, 3)), "fff", r"q \(5, 4\)"),
        (((2, 0, 4), (2, 0, 4), (2, 0, 3)), "fff", "no empty axis"),
        (((2, 5, 4), (2, 5, 4), (2, 5, 3)), "ffe", "v float16"),
        (((2, 5, 4), (2, 5, 4), (2, 5, 3)), "iii", "of float16, bfloat16, float32, float64"),
    ],
)
def test_inputs_that_do_not_fit_are_named(shapes, dtypes, expected):
    q, k, v = (np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    unchecked = inspect.unwrap(position_attention)  # without the test-time check of annotations
    with pytest.raises(ValueError, match=expected):
        unchecked(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v))


def test_unknown_implementation_is_named():
    q, k, v, _ = arrays(1, 5, 4, 3)
    with pytest.raises(ValueError, match=r"implementation='flash'.*blockwise, reference, triton, "):
        position_attention(q, k, v, implementation="flash")


def test_why_an_implementation_is_passed_over_is_logged(caplog):
    q, k, v, _ = arrays(1, 5, 4, 3)
    with caplog.at_level(logging.DEBUG, "pallas_kernels"):
        position_attention(q, k, v)
        (record,) = caplog.records
        assert record.levelno == logging.DEBUG
        assert record.message.startswith("triton does not take q (1, 5, 4) float32: ")
        assert record.message.endswith("need a GPU, and this program is for 'cpu'")
        position_attention(q, k, v, implementation="blockwise")
        assert len(caplog.records) == 1


def test_examples_in_docstrings():
    assert doctest.testmod(package).failed == 0
