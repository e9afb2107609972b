"""FCN-8s beside its definition in tests/parity: sizes, how it begins, what it adds up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.fcn8s import FCN8sHead
from sassn_jax.models.vgg_network import VGGNetwork
from tests.trees import random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("size", [(1, 2), (33, 64), (500, 375), (321, 321)])
def test_logits_are_float32_at_the_size_of_the_images(size, dtype):
    images = jax.ShapeDtypeStruct((3, *size, 3), "float32")
    init = functools.partial(
        VGGNetwork(5, "vgg_tiny", "fcn8s", dtype).init_with_output, train=False
    )
    logits, _ = jax.eval_shape(init, jax.random.key(0), images)
    assert (logits.shape, logits.dtype) == ((3, *size, 5), jnp.float32)


def test_begins_without_an_opinion():
    features = (draw(1, 40, 40, 4), draw(1, 20, 20, 6), draw(1, 4, 4, 8))
    variables = FCN8sHead(3).init(jax.random.key(0), *map(jnp.asarray, features), size=(30, 31))
    assert not any(map(np.any, jax.tree.leaves(variables)))


def naive_doubling(x, factor):
    """A transposed convolution of 2 * factor taps, a tap at a time."""
    taps = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    batch, height, width, channels = x.shape
    out = np.zeros((batch, factor * (height + 1), factor * (width + 1), channels))
    for i, j in np.ndindex(height, width):
        rows, columns = slice(factor * i, factor * (i + 2)), slice(factor * j, factor * (j + 2))
        out[:, rows, columns] += taps[:, None, None] * taps[:, None] * x[:, i, None, j, None]
    return out


def test_the_head_adds_up_scores_of_three_stages():
    pool3, pool4, fc7 = draw(2, 34, 38, 4), draw(2, 17, 19, 6, seed=1), draw(2, 2, 3, 8, seed=2)
    head = FCN8sHead(3)
    given = tuple(map(jnp.asarray, (pool3, pool4, fc7)))
    variables = random_variables(head, *given, size=(40, 50))
    params = variables["params"]

    def score(name, x):
        return x @ np.asarray(params[name]["kernel"][0, 0], np.float64) + params[name]["bias"]

    expected = naive_doubling(score("score_fr", fc7), 2)
    expected = expected + score("score_pool4", pool4)[:, 5:11, 5:13]
    expected = naive_doubling(expected, 2) + score("score_pool3", pool3)[:, 9:23, 9:27]
    expected = naive_doubling(expected, 8)[:, 31:71, 31:81]
    got = head.apply(variables, *given, size=(40, 50))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
