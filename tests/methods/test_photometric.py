"""Jitter and blur against the standard library and NumPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np

from sassn_jax.methods.photometric import blur, photometric, shift_hue


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
