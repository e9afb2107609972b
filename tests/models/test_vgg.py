"""The VGG trunk: sizes and counts against published ones, and what it sees of an image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.networks import create_network
from sassn_jax.models.vgg import ARCHITECTURES, VGG, Architecture, max_pool_2x2
from tests.trees import assert_trees_close, random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes", "fast_compile")

SMALL = Architecture(widths=(2, 3, 3, 4, 4), fully_connected=5)
FRONT_END = {"poolings": 3, "padding": 0, "first_padding": 0}
# torchvision's vgg16 has 138,357,544 parameters, the last layer 4096 * 1000 + 1000 of them.
TRUNK = 134_260_544


def shapes_of(trunk, size):
    """Shapes of the features and of the variables, with nothing computed."""
    images = jax.ShapeDtypeStruct((1, *size, 3), "float32")
    init = functools.partial(trunk.init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), images)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"first_padding": 100}, (500, 375), (16, 12)),  # ceil(698 / 32) - 6, ceil(573 / 32) - 6
        ({"first_padding": 100}, (1, 27), (1, 2)),
        ({}, (224, 224), (1, 1)),  # the classifier
        (FRONT_END, (900, 900), (66, 66)),
        (FRONT_END, (1396, 380), (128, 1)),
    ],
)
def test_feature_sizes(options, size, expected):
    (stage3, stage4, fc7), _ = shapes_of(VGG(ARCHITECTURES["vgg16"], **options), size)
    assert fc7.shape == (1, *expected, 4096)
    assert (stage3.shape[-1], stage4.shape[-1]) == (256, 512)


def test_parameter_count():
    _, variables = shapes_of(VGG(ARCHITECTURES["vgg16"]), (224, 224))
    assert count(variables) == TRUNK == 138_357_544 - 4_097_000
    assert set(variables) == {"params"}


@pytest.mark.parametrize(
    ("head", "classes", "head_count"),
    [
        # Classifiers on 4096, 512 and 256 channels. 134,489,759 with FCN's 127,008 constants of two
        # 4x4 and one 16x16 deconvolution from 21 to 21 channels.
        ("fcn8s", 21, 86_037 + 10_773 + 5_397),
        # A classifier, 3x3 convolutions, and a 1x1.
        ("dilation8", 21, 86_037 + 7 * 3_990 + 462),
        ("dilation10", 19, 77_843 + 9 * 3_268 + 380),
    ],
)
def test_parameter_counts_of_the_published_networks(head, classes, head_count):
    network = create_network(classes, backbone="vgg16", head=head)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    init = functools.partial(network.init, train=False)
    params = jax.eval_shape(init, jax.random.key(0), images)["params"]
    assert set(params) == {"backbone", "head"}
    assert (count(params["backbone"]), count(params["head"])) == (TRUNK, head_count)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 2)])
def test_pooling_rounds_up(size):
    x = draw(2, *size, 3)
    padded = np.pad(
        x, ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0)), constant_values=-np.inf
    )
    blocks = padded.reshape(2, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2, 3)
    np.testing.assert_array_equal(max_pool_2x2(jnp.asarray(x)), blocks.max((2, 4)))
    gradient = jax.grad(lambda x: jnp.sum(max_pool_2x2(x) ** 2))(jnp.asarray(x))
    is_largest = np.isin(x, blocks.max((2, 4)))
    np.testing.assert_allclose(gradient, np.where(is_largest, 2 * x, 0), rtol=1e-6)


def test_the_front_end_sees_380_pixels_with_its_own_8_in_the_middle():
    """Of a constant image through positive kernels, all taps of all maxima have a gradient."""
    trunk = VGG(SMALL, **FRONT_END)
    _, shapes = shapes_of(trunk, (388, 388))
    variables = jax.tree.map(lambda x: jnp.full(x.shape, 1 / x.size**0.5), shapes)

    @jax.jit
    @jax.grad
    def gradient(images):
        fc7 = trunk.apply(variables, images, train=False)[-1]
        assert fc7.shape == (1, 2, 2, 5)
        return jnp.sum(fc7[0, 1, 0])

    seen = np.argwhere(gradient(jnp.ones((1, 388, 388, 3)))[0, :, :, 0])
    np.testing.assert_array_equal(seen.min(0), (8, 0))
    np.testing.assert_array_equal(seen.max(0), (387, 379))
    assert len(seen) == 380**2


def test_remat_changes_no_gradient_though_dropout_does():
    images = jnp.asarray(draw(1, 8, 9, 3))
    variables = random_variables(VGG(SMALL, first_padding=100), images, train=False)

    @functools.partial(jax.jit, static_argnames="remat")
    def gradients(seed, remat):
        def loss(variables):
            trunk = VGG(SMALL, first_padding=100, remat=remat)
            rngs = {"dropout": jax.random.key(seed)}
            return jnp.sum(trunk.apply(variables, images, train=True, rngs=rngs)[-1] ** 2)

        return jax.grad(loss)(variables)

    plain = gradients(1, remat=False)
    assert_trees_close(gradients(1, remat=True), plain, 1e-5)
    of_fc7, other = (gradients(seed, remat=False)["params"]["fc7"]["kernel"] for seed in (1, 2))
    assert np.abs(of_fc7 - other).max() > 1e-3
