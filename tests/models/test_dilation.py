"""Dilation8 and 10 beside their definition in tests/parity: sizes, context, reflection."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models import dilation
from sassn_jax.models.dilation import CONTEXTS, DilationHead, near_identity
from sassn_jax.models.vgg import VGG
from sassn_jax.models.vgg_network import VGGNetwork
from tests.trees import random_variables

from .test_layers import draw, naive_conv

pytestmark = pytest.mark.usefixtures("strict_dtypes", "fast_compile")


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("size", [(1, 2), (33, 64), (187, 20)])
@pytest.mark.parametrize("head", CONTEXTS)
def test_logits_are_float32_at_the_size_of_the_images(head, size, dtype):
    images = jax.ShapeDtypeStruct((3, *size, 3), "float32")
    init = functools.partial(VGGNetwork(5, "vgg_tiny", head, dtype).init_with_output, train=False)
    logits, _ = jax.eval_shape(init, jax.random.key(0), images)
    assert (logits.shape, logits.dtype) == ((3, *size, 5), jnp.float32)


@pytest.mark.parametrize("dilations", CONTEXTS.values())
def test_the_context_begins_as_the_identity(dilations, monkeypatch):
    """Without noise, and of what its ReLUs let through."""
    monkeypatch.setattr(dilation, "NOISE", 0.0)
    features = jnp.asarray(draw(2, 5, 6, 4))
    head = DilationHead(3, dilations)
    params = head.init(jax.random.key(0), features)["params"]
    params = {
        **params,
        "classifier": {"kernel": jnp.asarray(draw(1, 1, 4, 3)), "bias": jnp.asarray(draw(3))},
    }
    scores = features @ params["classifier"]["kernel"][0, 0] + params["classifier"]["bias"]
    got = head.apply({"params": params}, features)
    np.testing.assert_allclose(got, np.maximum(scores, 0), rtol=1e-5)


def test_noise_around_the_identity():
    kernel = near_identity(jax.random.key(0), (3, 3, 40, 40))
    expected = np.zeros((3, 3, 40, 40))
    expected[1, 1] = np.eye(40)
    np.testing.assert_allclose(np.std(kernel - expected), 0.01, rtol=0.05)
    np.testing.assert_allclose(np.mean(kernel - expected), 0, atol=1e-3)


def test_the_context_against_numpy():
    features, dilations = draw(2, 5, 6, 4), (1, 2, 4)
    head = DilationHead(3, dilations)
    variables = random_variables(head, features)
    params = jax.tree.map(np.asarray, variables["params"])
    x = features
    for name, rate, padding in (
        ("classifier", 1, 0),
        *((f"context{i}", r, r) for i, r in enumerate(dilations, start=1)),
        ("context_final", 1, 0),
    ):
        x = naive_conv(x, params[name]["kernel"], 1, rate, padding) + params[name]["bias"]
        x = np.maximum(x, 0) if padding else x
    got = head.apply(variables, jnp.asarray(features))
    np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "reach"), [("dilation8", 33), ("dilation10", 129)])
def test_how_far_the_context_sees(name, reach):
    """67 positions a side of Dilation8, as the paper's Table 1 has it."""
    side = 2 * reach + 3
    features = np.zeros((1, side, side, 1), np.float32)
    features[0, reach + 1, reach + 1] = 1
    head = DilationHead(1, CONTEXTS[name])
    variables = jax.tree.map(
        lambda x: 1 / x.size * jnp.ones_like(x), random_variables(head, features)
    )
    variables["params"] = {
        name: {**layer, "bias": jnp.zeros(1)} for name, layer in variables["params"].items()
    }
    seen = np.argwhere(head.apply(variables, jnp.asarray(features))[0, :, :, 0])
    np.testing.assert_array_equal(seen.min(0), (1, 1))
    np.testing.assert_array_equal(seen.max(0), (side - 2, side - 2))


def reflected(size, before, after):
    """Which pixel of a row each of a wider row shows, between two mirrors at the outer pixels."""
    there_and_back = max(1, 2 * (size - 1))
    position = np.arange(-before, size + after) % there_and_back
    return np.minimum(position, there_and_back - position) if size > 1 else 0 * position


@pytest.mark.parametrize("size", [(13, 24), (1, 200)])
def test_images_are_reflected_as_often_as_it_takes(size, monkeypatch):
    seen = []

    def record(self, images, *, train):
        seen.append(images)
        rows, columns = ((side - 372) // 8 for side in images.shape[1:3])
        return (jnp.zeros((1, rows, columns, 4)),)

    monkeypatch.setattr(VGG, "__call__", record)
    images = draw(1, *size, 3)
    network = VGGNetwork(2, "vgg_tiny", "dilation8")
    network.init(jax.random.key(0), jnp.asarray(images), train=False)
    rows, columns = (reflected(side, 186, 186 + -side % 8) for side in size)
    np.testing.assert_array_equal(seen[0], images[:, rows][:, :, columns])
