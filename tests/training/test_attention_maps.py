"""The map of one pixel against the row of all weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.position_attention import position_attention
from sassn_jax.models.attention import PositionAttention
from sassn_jax.training.attention_maps import attention_map, telling_pixel, with_projections
from tests.trees import random_variables


class Network(nn.Module):
    """Every fourth pixel of the image, attended to twice."""

    @nn.compact
    def __call__(self, images, train):
        x = images[:, ::4, ::4]
        return PositionAttention(1, name="attention4")(PositionAttention(1, name="attention3")(x))


def test_a_map_is_the_pixels_row_of_all_weights():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 20, 28, 3)), "float32")
    variables = random_variables(Network(), images, train=False)

    def predict(variables, images):
        return Network().apply(variables, images, train=False)

    predicted, projections = jax.jit(with_projections(predict))(variables, images)
    assert set(projections) == {"attention3", "attention4"}
    x = images[:, ::4, ::4]
    for name, projected in projections.items():
        query, key = (np.asarray(projected[kind][0]) for kind in ("query", "key"))
        found = attention_map(query, key, 2, 6)
        params = variables["params"][name]

        def project(part, x=x, params=params):
            kernel, bias = params[part]["kernel"][0, 0], params[part]["bias"]
            return (x @ kernel + bias).reshape(1, 35, 3)

        weights = position_attention(project("query"), project("key"), jnp.eye(35)[None])[0]
        np.testing.assert_allclose(found.ravel(), weights[2 * 7 + 6], rtol=1e-4, atol=1e-6)
        x = PositionAttention(1).apply({"params": params}, x)
    np.testing.assert_allclose(predicted, x, rtol=1e-5)


def test_a_network_without_attention_has_no_maps():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            return nn.Conv(2, (1, 1), name="query")(images)

    images = jnp.zeros((1, 4, 4, 3))
    variables = random_variables(Plain(), images, train=False)

    def predict(variables, images):
        return Plain().apply(variables, images, train=False)

    predicted, projections = with_projections(predict)(variables, images)
    assert projections == {}
    np.testing.assert_array_equal(predicted, predict(variables, images))


@pytest.mark.parametrize(
    ("label", "pixel"),
    [
        ([[0, 0, 0], [0, 2, 1], [0, 1, 255]], (1, 1)),
        ([[1, 0, 0], [1, 0, 0], [1, 0, 0]], (1, 0)),
        ([[255, 255, 255]] * 3, (1, 1)),
    ],
)
def test_the_pixel_is_of_the_rarest_class(label, pixel):
    assert telling_pixel(np.array(label, np.uint8), 255) == pixel
