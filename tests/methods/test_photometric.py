"""Jitter and blur against the standard library and NumPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods.photometric import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    blur,
    from_rgb,
    photometric,
    shift_hue,
    to_rgb,
)

LUMA = np.array([299, 587, 114]) / 1000
BGR = Normalize("bgr", (104.0, 117.0, 123.0), (57.0, 56.0, 55.0))
RGB = Normalize("rgb", (122.5, 116.5, 104.0), (1.0, 1.0, 1.0))


def draw_images(*shape):
    return np.random.default_rng(0).uniform(0, 255, (*shape, 3)).astype(np.float32)


def test_hue_is_turned_as_in_hsv():
    images = draw_images(2, 5, 3)
    images[0, 0] = [[0, 0, 0], [70, 70, 70], [255, 0, 0]]
    shift = np.array([0.07, -0.4], np.float32)[:, None, None]
    shifted = shift_hue(jnp.asarray(images), jnp.asarray(shift))
    for pixel in np.ndindex(2, 5, 3):
        hue, saturation, value = colorsys.rgb_to_hsv(*(float(x) for x in images[pixel]))
        hue = (hue + float(shift[pixel[0], 0, 0])) % 1
        expected = colorsys.hsv_to_rgb(hue, saturation, value)
        np.testing.assert_allclose(shifted[pixel], expected, atol=2e-3)


def test_blur_is_a_weighted_mean_over_the_pixels_there_are():
    images, sigmas = draw_images(2, 6, 4), [0.1, 1.7]
    expected = np.zeros(images.shape)
    for image, sigma, out in zip(images, sigmas, expected, strict=True):
        for row, column in np.ndindex(6, 4):
            down, across = (
                (np.arange(n) - at)[:, None] if n == 6 else np.arange(n) - at
                for n, at in ((6, row), (4, column))
            )
            weights = np.exp(-(down**2 + across**2) / (2 * sigma**2))
            out[row, column] = np.einsum("hw,hwc->c", weights / weights.sum(), image)
    blurred = blur(jnp.asarray(images), jnp.asarray(sigmas, jnp.float32))
    np.testing.assert_allclose(blurred, expected, rtol=1e-5, atol=1e-3)


def test_each_image_has_its_own_colours_and_the_key_decides():
    one = draw_images(1, 9, 7)
    images = jnp.asarray(np.repeat(one, 4, axis=0))
    change = jax.jit(photometric)
    views = np.asarray(change(jax.random.key(0), images))
    assert views.shape == images.shape
    assert views.min() >= -1e-3
    assert views.max() <= 255.001
    for i, j in ((0, 1), (1, 2), (2, 3)):
        assert np.abs(views[i] - views[j]).max() > 1
    np.testing.assert_array_equal(change(jax.random.key(0), images), views)
    assert np.abs(change(jax.random.key(1), images) - views).max() > 1


def factors(*values):
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("operation", "other"),
    [
        (adjust_brightness, lambda image: 0),
        (adjust_contrast, lambda image: (image @ LUMA).mean()),
        (adjust_saturation, lambda image: (image @ LUMA)[..., None]),
    ],
)
def test_blends_of_color_jitter(operation, other):
    """`factor` of the image and `1 - factor` of another, as torchvision has it."""
    rgb = draw_images(3, 5, 7)
    got = jax.jit(operation)(jnp.asarray(rgb, jnp.float32), factors(0.5, 1.0, 1.5))
    for image, result, factor in zip(rgb, got, (0.5, 1.0, 1.5), strict=True):
        expected = np.clip(factor * image + (1 - factor) * other(image), 0, 255)
        np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("normalize", [RGB, BGR])
def test_normalization_is_undone_and_done_again(normalize):
    rgb = draw_images(3, 5, 7).astype("float32")
    images = np.stack([normalize(image) for image in rgb])
    np.testing.assert_allclose(to_rgb(jnp.asarray(images), normalize), rgb, atol=1e-3)
    np.testing.assert_allclose(from_rgb(jnp.asarray(rgb), normalize), images, atol=1e-4)
