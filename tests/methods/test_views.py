"""Boxes and strong views against their laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods import views
from sassn_jax.methods.photometric import to_rgb

SIZE = (49, 65)
DRAWS = 2000
BGR = Normalize("bgr", (104.0, 117.0, 123.0), (57.0, 56.0, 55.0))
RGB = Normalize("rgb", (122.5, 116.5, 104.0), (1.0, 1.0, 1.0))


@functools.partial(jax.jit, static_argnames=("draw", "count"))
def draw_boxes(key, draw, count=DRAWS):
    return draw(key, count, SIZE)


@pytest.fixture(scope="module")
def halves():
    return np.asarray(draw_boxes(jax.random.key(0), views.half_boxes))


@pytest.fixture(scope="module")
def randoms():
    return np.asarray(draw_boxes(jax.random.key(1), views.random_boxes))


def sides_of(boxes):
    """Heights and widths, in pixels, of what must be full rectangles."""
    heights, widths = boxes.any(axis=2).sum(axis=1), boxes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(boxes.sum(axis=(1, 2)), heights * widths)
    for inside in (boxes.any(axis=2), boxes.any(axis=1)):  # each one stretch of pixels
        starts = np.diff(inside.astype(int), axis=1, prepend=0) == 1
        np.testing.assert_array_equal(starts.sum(axis=1), inside.any(axis=1))
    return heights, widths


def assert_uniform(values, low, high, slack=0.0):
    """Nine deciles within what chance leaves (four deviations) and rounding adds (`slack`)."""
    shares = np.arange(0.1, 1, 0.1)
    got = (np.quantile(values, shares) - low) / (high - low)
    bound = 4 * np.sqrt(shares * (1 - shares) / len(values)) + slack / (high - low)
    assert np.all(np.abs(got - shares) < bound), got


def test_half_of_the_area_to_the_rounding_of_two_sides(halves):
    height, width = SIZE
    heights, widths = sides_of(halves)
    error = np.abs(heights * widths - height * width / 2)
    assert error.max() <= (height + width) / 2 + 0.25
    assert error.mean() < 0.25 * (height + width) / 2


def test_law_of_the_aspect_of_half_boxes(halves):
    """Heights are 0.5 ** U(0, 1) of the image's, and widths the rest of a half."""
    heights, widths = sides_of(halves)
    assert heights.min() >= 24
    assert widths.min() >= 32
    assert_uniform(np.log2(heights / SIZE[0]), -1, 0, slack=0.03)
    np.testing.assert_allclose(widths / SIZE[1], 0.5 * SIZE[0] / heights, atol=0.03)


def test_half_boxes_stand_anywhere_in_the_image(halves):
    small = halves[sides_of(halves)[0] < 0.6 * SIZE[0]]
    top = small.any(axis=2).argmax(axis=1)
    room = SIZE[0] - small.any(axis=2).sum(axis=1)
    assert top.min() == 0
    assert np.any(top == room)
    assert_uniform(top / room, 0, 1, slack=0.04)


def test_law_of_random_boxes(randoms):
    there = randoms.any(axis=(1, 2))
    assert abs(there.mean() - 0.5) < 4 * 0.5 / np.sqrt(DRAWS)
    heights, widths = sides_of(randoms[there])
    assert_uniform(heights * widths / np.prod(SIZE), 0.02, 0.4, slack=0.02)
    aspect = (heights / SIZE[0]) / (widths / SIZE[1])
    assert 0.25 < aspect.min() < 0.5
    assert 2 < aspect.max() < 4
    assert heights.max() <= SIZE[0]
    assert widths.max() <= SIZE[1]
    little = heights * widths < 0.2 * np.prod(SIZE)  # for which all aspects fit
    assert_uniform(aspect[little], 0.3, 1 / 0.3, slack=0.2)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2), (1, 4, 5, 3)])
def test_mix_pastes_the_next_image(shape):
    rng = np.random.default_rng(0)
    x, boxes = rng.normal(size=shape).astype("float32"), rng.random(shape[:3]) < 0.5
    expected = x.copy()
    for i, row, column in np.argwhere(boxes):
        expected[i, row, column] = x[(i + 1) % len(x), row, column]
    np.testing.assert_array_equal(views.mix(jnp.asarray(x), jnp.asarray(boxes)), expected)
    if len(x) == 1:
        np.testing.assert_array_equal(expected, x)


@pytest.fixture(scope="module")
def many():
    """Small images, one strong view of each, both RGB, and the view as it was made."""
    rgb = np.random.default_rng(1).uniform(20, 200, (1000, 4, 6, 3)).astype("float32")
    view = jax.jit(functools.partial(views.strong_view, normalize=BGR))
    images = jnp.stack([BGR(image) for image in rgb])
    strong = view(jax.random.key(3), images)
    np.testing.assert_array_equal(strong, view(jax.random.key(3), images))
    assert np.any(strong != view(jax.random.key(4), images))
    return rgb, np.asarray(to_rgb(strong, BGR))


def test_how_often_a_strong_view_does_what(many):
    rgb, strong = many

    def assert_share(happened, probability):
        bound = 4 * np.sqrt(probability * (1 - probability) / len(happened))
        assert abs(np.mean(happened) - probability) < bound

    is_grey = np.ptp(strong, axis=-1).max(axis=(1, 2)) < 1e-2
    assert_share(is_grey, 0.2)
    untouched = np.abs(strong - rgb).max(axis=(1, 2, 3)) < 1e-2
    # Blur by a sigma of less than 0.25 is not seen at this tolerance.
    assert 0.2 * 0.8 * 0.5 - 0.03 < untouched.mean() < 0.2 * 0.8 * 0.6 + 0.03
    assert strong.min() >= -1e-3
    assert strong.max() <= 255.001


def test_brightness_of_strong_views_varies_as_published(many):
    """Of the mean of an image, where neither clipping nor hue has much to say."""
    rgb, strong = many
    ratio = strong.mean(axis=(1, 2, 3)) / rgb.mean(axis=(1, 2, 3))
    assert 0.4 < ratio.min() < 0.55
    assert 1.4 < ratio.max() < 1.7


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_a_weaker_view_changes_less(many, strength):
    rgb, _ = many
    images = jnp.stack([BGR(image) for image in rgb])
    view = jax.jit(functools.partial(views.strong_view, normalize=BGR, strength=strength))
    weak = np.asarray(to_rgb(view(jax.random.key(3), images), BGR))
    ratio = weak.mean(axis=(1, 2, 3)) / rgb.mean(axis=(1, 2, 3))
    assert 1 - strength / 2 - 0.05 < ratio.min() <= 1 - 0.8 * strength / 2 + 1e-3
    is_grey = np.ptp(weak, axis=-1).max(axis=(1, 2)) < 1e-2
    assert abs(is_grey.mean() - 0.2 * strength) < 0.05
    if strength == 0:
        np.testing.assert_allclose(weak, rgb, atol=1e-3)


def test_views_of_one_image_that_is_not_square(fast_compile):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 8, 3)), jnp.float32)
    view = jax.jit(functools.partial(views.strong_view, normalize=RGB))
    assert view(jax.random.key(0), images).shape == images.shape
    assert draw_boxes(jax.random.key(0), views.random_boxes, 1).shape == (1, *SIZE)
