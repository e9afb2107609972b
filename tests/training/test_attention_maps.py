"""The map of one pixel against the row of all weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels.position_attention import position_attention
from sassn_jax.models.attention import PositionAttention
from sassn_jax.training.attention_maps import attention_maps, telling_pixel
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
    maps = jax.jit(lambda pixel: attention_maps(Network(), variables, images, pixel))(
        jnp.array([9, 27])
    )
    assert set(maps) == {"attention3", "attention4"}
    x = images[:, ::4, ::4]
    for name, found in maps.items():
        params = variables["params"][name]

        def project(part, x=x, params=params):
            kernel, bias = params[part]["kernel"][0, 0], params[part]["bias"]
            return (x @ kernel + bias).reshape(1, 35, 3)

        weights = position_attention(project("query"), project("key"), jnp.eye(35)[None])[0]
        np.testing.assert_allclose(found.ravel(), weights[2 * 7 + 6], rtol=1e-4, atol=1e-6)
        x = PositionAttention(1).apply({"params": params}, x)


def test_a_network_without_attention_has_no_maps():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            return nn.Conv(2, (1, 1), name="query")(images)

    images = jnp.zeros((1, 4, 4, 3))
    variables = random_variables(Plain(), images, train=False)
    assert attention_maps(Plain(), variables, images, jnp.array([0, 0])) == {}


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
