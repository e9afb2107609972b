"""The discriminator: sizes, parameter counts, and its layers against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.discriminator import MINIMUM_SIZE, Discriminator
from tests.trees import random_variables

from .test_layers import draw, naive_conv

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def shapes_of(size, classes=21, **options):
    maps = jax.ShapeDtypeStruct((1, *size, classes), "float32")
    return jax.eval_shape(Discriminator(**options).init_with_output, jax.random.key(0), maps)


@pytest.mark.parametrize(("classes", "count"), [(21, 2_783_169), (19, 2_781_121)])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_parameter_counts(classes, count, spectral_norm):
    _, variables = shapes_of((64, 64), classes, spectral_norm=spectral_norm)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
    assert ("spectral" in variables) == spectral_norm


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 32), (1, 1)), ((33, 63), (1, 1)), ((64, 45), (2, 1)), ((321, 321), (10, 10)),
     ((512, 1024), (16, 32)), ((97, 161), (3, 5))],
)  # fmt: skip
def test_takes_any_size_from_32_pixels(size, expected):
    logits, _ = shapes_of(size)
    assert logits.shape == (1, *expected, 1)
    assert MINIMUM_SIZE == 32


def test_every_convolution_is_normalized():
    _, variables = shapes_of((32, 32), spectral_norm=True)
    sizes = {"conv1": (64, 336), "conv2": (128, 1024), "conv3": (256, 2048),
             "conv4": (512, 4096), "conv5": (1, 8192)}  # fmt: skip
    assert {
        name: (vectors["kernel_norm"]["u"].size, vectors["kernel_norm"]["v"].size)
        for name, vectors in variables["spectral"].items()
    } == sizes


def test_is_five_convolutions_with_leaky_relu_between():
    maps = draw(1, 33, 40, 3)
    discriminator = Discriminator()
    variables = random_variables(discriminator, maps)
    x = maps
    for i in range(1, 6):
        conv = variables["params"][f"conv{i}"]
        x = naive_conv(x, conv["kernel"], 2, 1, 1) + conv["bias"]
        if i < 5:
            x = np.where(x > 0, x, 0.2 * x)
    np.testing.assert_allclose(
        discriminator.apply(variables, jnp.asarray(maps)), x, rtol=1e-4, atol=1e-4
    )
