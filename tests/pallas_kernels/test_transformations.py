"""The kernels, interpreted on a CPU, under JAX's transformations and over several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pallas_kernels.position_attention import position_attention

from .definition import and_gradients, arrays, assert_matches

INTERPRETED = "triton_interpret"
attention = functools.partial(position_attention, implementation=INTERPRETED)
attention_and_gradients = functools.partial(and_gradients, attention)

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def inputs():
    return arrays(4, 33, 12, 21)


@pytest.fixture(scope="module")
def expected(inputs):
    return jax.jit(attention_and_gradients)(*inputs)


def assert_equal(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)


@pytest.fixture
def sharding():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def test_each_device_attends_over_its_own_images(inputs, expected, sharding):
    sharded = jax.device_put(inputs, sharding)
    program = jax.jit(attention_and_gradients).lower(*sharded).compile()
    text = program.as_text()
    assert not any(op in text for op in ("all-gather", "all-to-all", "collective-permute"))
    actual = program(*sharded)
    for result in actual:
        assert result.sharding.is_equivalent_to(sharding, result.ndim)
    assert_equal(actual, expected)


def test_queries_that_every_device_holds(inputs, expected, sharding):
    q, *others = inputs
    program = jax.jit(attention_and_gradients).lower(q, *jax.device_put(others, sharding)).compile()
    assert "all-gather" not in program.as_text()
    assert_equal(program(q, *jax.device_put(others, sharding)), expected)


def test_under_shard_map(inputs, expected, sharding):
    mapped = jax.shard_map(
        attention_and_gradients,
        mesh=sharding.mesh,
        in_specs=sharding.spec,
        out_specs=sharding.spec,
        check_vma=False,  # what is written by a kernel has no record of how it varies
    )
    assert_equal(jax.jit(mapped)(*inputs), expected)


def test_under_vmap(inputs, expected):
    grouped = [x.reshape(2, 2, *x.shape[1:]) for x in inputs]
    actual = jax.jit(jax.vmap(attention_and_gradients))(*grouped)
    assert_equal([x.reshape(-1, *x.shape[2:]) for x in actual], expected)


def test_under_vmap_over_some_inputs(inputs):
    """One set of keys for several of queries and values."""
    q, k, v, d_out = inputs
    many = (jnp.stack([q, 2 * q]), k, jnp.stack([v, -v]), jnp.stack([d_out, d_out]))
    run = jax.jit(jax.vmap(attention_and_gradients, in_axes=(0, None, 0, 0)))
    actual = run(*many)
    for i in range(2):
        case = [many[0][i], k, many[2][i], many[3][i]]
        assert_matches([x[i] for x in actual], case, INTERPRETED)


def test_under_remat(inputs, expected):
    rematerialized = functools.partial(and_gradients, jax.checkpoint(attention))
    assert_equal(jax.jit(rematerialized)(*inputs), expected)


def test_with_donated_buffers(inputs, expected):
    copies = [x.copy() for x in inputs]
    step = jax.jit(attention_and_gradients, donate_argnums=(0, 1, 2, 3))
    assert_equal(step(*copies), expected)
    assert all(x.is_deleted() for x in copies)
