"""Position attention as a layer, against a NumPy softmax over all positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.attention import PositionAttention
from tests.trees import random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def numpy_attention(params, x):
    """Equations (6) and (7), a position j at a time; the paper's Q is our key, its K our query."""
    batch, height, width, channels = x.shape
    flat = x.astype(np.float64).reshape(batch, height * width, channels)
    query, key, value = (
        flat @ params[name]["kernel"][0, 0] + params[name]["bias"]
        for name in ("query", "key", "value")
    )
    out = np.zeros(flat.shape)
    for b, j in np.ndindex(batch, height * width):
        scores = np.exp(key[b] @ query[b, j])
        out[b, j] = (scores / scores.sum()) @ value[b]
    return (params["alpha"] * out + flat).reshape(x.shape)


@pytest.mark.parametrize("implementation", [None, "reference", "blockwise"])
@pytest.mark.parametrize("qk_reduction", [1, 8])
def test_attention(implementation, qk_reduction):
    x = draw(2, 3, 5, 16)
    layer = PositionAttention(qk_reduction, implementation)
    variables = random_variables(layer, x)
    assert variables["params"]["query"]["kernel"].shape == (1, 1, 16, 16 // qk_reduction)
    expected = numpy_attention(variables["params"], x)
    assert np.abs(expected - x).max() > 0.1
    np.testing.assert_allclose(
        layer.apply(variables, jnp.asarray(x)), expected, rtol=1e-4, atol=1e-4
    )


def test_starts_as_the_identity():
    x = jnp.asarray(draw(2, 3, 5, 16))
    layer = PositionAttention()
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["alpha"].shape == ()
    np.testing.assert_array_equal(layer.apply(variables, x), x)


def test_alpha_learns_from_the_start():
    """At alpha 0 its own gradient is not 0, though that of query, key and value is."""
    x = jnp.asarray(draw(1, 3, 4, 16))
    layer = PositionAttention()
    variables = layer.init(jax.random.key(0), x)
    gradient = jax.grad(lambda p: (layer.apply(p, x) ** 2).sum())(variables)["params"]
    assert gradient["alpha"] != 0
    assert not np.any(gradient["value"]["kernel"])


@pytest.mark.parametrize(("channels", "count"), [(1024, 1_312_001), (2048, 5_245_441)])
def test_parameter_counts_of_sa1_and_sa2(channels, count):
    x = jax.ShapeDtypeStruct((1, 5, 5, channels), "float32")
    shapes = jax.eval_shape(PositionAttention().init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_few_channels_leave_one_for_queries():
    shapes = jax.eval_shape(
        PositionAttention(qk_reduction=8).init,
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 2, 2, 4), "float32"),
    )
    assert shapes["params"]["query"]["kernel"].shape == (1, 1, 4, 1)
