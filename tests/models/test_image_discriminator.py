"""The discriminator of whole images: sizes, parameter counts, and its layers against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.image_discriminator import ImageDiscriminator, scale_to_unit
from tests.trees import random_variables

from .test_layers import draw, naive_conv

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize(("classes", "count"), [(21, 2_778_561), (19, 2_776_513)])
@pytest.mark.parametrize("size", [(16, 16), (33, 47), (321, 321), (256, 512)])
def test_takes_maps_with_their_images_of_any_size_from_16_pixels(classes, count, size):
    maps = jax.ShapeDtypeStruct((1, *size, classes), "float32")
    images = jax.ShapeDtypeStruct((1, *size, 3), "float32")
    (logits, features), variables = jax.eval_shape(
        lambda *inputs: ImageDiscriminator().init_with_output(*inputs, train=False),
        jax.random.key(0),
        maps,
        images,
    )
    assert (logits.shape, features.shape) == ((1,), (1, 512))
    assert sum(x.size for x in jax.tree.leaves(variables)) == count


def test_is_four_convolutions_a_mean_and_a_linear_layer():
    maps, images = draw(2, 17, 24, 4), draw(2, 17, 24, 3)
    discriminator = ImageDiscriminator()
    variables = random_variables(discriminator, maps, images, train=False)
    x = np.concatenate([maps, images], axis=-1)
    for i in range(1, 5):
        layer = variables["params"][f"conv{i}"]
        x = naive_conv(x, layer["kernel"], 2, 1, 1) + layer["bias"]
        x = np.where(x > 0, x, 0.2 * x)
    expected = x.mean(axis=(1, 2))
    linear = variables["params"]["score"]
    logits, features = discriminator.apply(
        variables, jnp.asarray(maps), jnp.asarray(images), train=False
    )
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    score = expected @ linear["kernel"][0, 0] + linear["bias"]
    np.testing.assert_allclose(logits, score[:, 0], rtol=1e-4, atol=1e-4)


def test_drops_whole_channels_after_the_first_three_convolutions():
    maps, images = jnp.asarray(draw(2, 40, 32, 4)), jnp.asarray(draw(2, 40, 32, 3))
    discriminator = ImageDiscriminator()
    variables = random_variables(discriminator, maps, images, train=False)

    def intermediates(seed):
        (_, features), kept = discriminator.apply(
            variables,
            maps,
            images,
            train=True,
            rngs={"dropout": jax.random.key(seed)},
            capture_intermediates=lambda module, _: type(module).__name__ == "Dropout",
        )
        return features, [x["__call__"][0] for x in kept["intermediates"].values()]

    features, dropped = intermediates(0)
    assert [x.shape[-1] for x in dropped] == [64, 128, 256]
    for x in dropped:
        zero = np.asarray(x == 0)
        whole = zero.all(axis=(1, 2))
        np.testing.assert_array_equal(zero.any(axis=(1, 2)), whole)
        assert 0.3 < whole.mean() < 0.7
    assert not np.any(features == 0)
    np.testing.assert_array_equal(intermediates(0)[0], features)
    assert np.abs(intermediates(1)[0] - features).max() > 1e-3


def test_scaling_is_one_for_all_images():
    images = 100 * draw(3, 5, 4, 3) - 20
    scaled = np.asarray(scale_to_unit(jnp.asarray(images)))
    low, high = images.min(), images.max()
    np.testing.assert_allclose(scaled, (images - low) / (high - low), atol=1e-6)
    assert (scaled.min(), scaled.max()) == (0, 1)
    np.testing.assert_array_equal(scale_to_unit(jnp.full((1, 2, 3, 3), 7.0)), 0)
