"""Boxes and strong views against their definitions in NumPy and colorsys."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods import views

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


def make_rgb(count=3, size=(5, 7)):
    """Colours, a grey and a black pixel, and the corners of the cube."""
    rgb = np.random.default_rng(0).uniform(0, 255, (count, *size, 3))
    rgb[:, 0, 0], rgb[:, 0, 1], rgb[:, 0, 2] = 90.0, 0.0, (255.0, 0.0, 0.0)
    rgb[:, 1, 0], rgb[:, 1, 1] = (0.0, 255.0, 255.0), (20.0, 20.0, 200.0)
    return rgb


def factors(*values):
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)


LUMA = np.array([299, 587, 114]) / 1000


@pytest.mark.parametrize(
    ("operation", "other"),
    [
        (views.adjust_brightness, lambda image: 0),
        (views.adjust_contrast, lambda image: (image @ LUMA).mean()),
        (views.adjust_saturation, lambda image: (image @ LUMA)[..., None]),
    ],
)
def test_blends_of_color_jitter(operation, other):
    """`factor` of the image and `1 - factor` of another, as torchvision has it."""
    rgb = make_rgb()
    got = jax.jit(operation)(jnp.asarray(rgb, jnp.float32), factors(0.5, 1.0, 1.5))
    for image, result, factor in zip(rgb, got, (0.5, 1.0, 1.5), strict=True):
        expected = np.clip(factor * image + (1 - factor) * other(image), 0, 255)
        np.testing.assert_allclose(result, expected, atol=1e-3)


def test_hue_is_that_of_colorsys():
    rgb, turns = make_rgb(), (-0.25, 0.0, 0.2)
    got = jax.jit(views.shift_hue)(jnp.asarray(rgb, jnp.float32), factors(*turns))
    for image, result, turn in zip(rgb, got, turns, strict=True):
        for pixel in np.ndindex(image.shape[:2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[pixel] / 255)
            expected = np.multiply(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), 255)
            np.testing.assert_allclose(result[pixel], expected, atol=2e-3)


def test_grey_is_the_luma():
    rgb = make_rgb()
    got = views.grey(jnp.asarray(rgb, jnp.float32))
    np.testing.assert_allclose(got, np.repeat((rgb @ LUMA)[..., None], 3, -1), atol=1e-3)


def test_blur_is_a_mean_by_the_normal_density():
    rgb, sigmas = make_rgb(size=(9, 6)), (0.1, 0.8, 2.0)
    got = jax.jit(views.gaussian_blur)(jnp.asarray(rgb, jnp.float32), factors(*sigmas))
    rows, columns = np.indices(rgb.shape[1:3])
    for image, result, sigma in zip(rgb, got, sigmas, strict=True):
        for row, column in np.ndindex(image.shape[:2]):
            squares = (rows - row) ** 2 + (columns - column) ** 2
            density = np.exp(-squares / (2 * sigma**2))
            expected = np.einsum("hw,hwc->c", density, image) / density.sum()
            np.testing.assert_allclose(result[row, column], expected, atol=1e-3)
    np.testing.assert_allclose(got[0], rgb[0], atol=1e-3)


@pytest.mark.parametrize("normalize", [RGB, BGR])
def test_normalization_is_undone_and_done_again(normalize):
    rgb = make_rgb().astype("float32")
    images = np.stack([normalize(image) for image in rgb])
    np.testing.assert_allclose(views.to_rgb(jnp.asarray(images), normalize), rgb, atol=1e-3)
    np.testing.assert_allclose(views.from_rgb(jnp.asarray(rgb), normalize), images, atol=1e-4)


@pytest.fixture(scope="module")
def many():
    """Small images, one strong view of each, both RGB, and the view as it was made."""
    rgb = np.random.default_rng(1).uniform(20, 200, (1000, 4, 6, 3)).astype("float32")
    view = jax.jit(functools.partial(views.strong_view, normalize=BGR))
    images = jnp.stack([BGR(image) for image in rgb])
    strong = view(jax.random.key(3), images)
    np.testing.assert_array_equal(strong, view(jax.random.key(3), images))
    assert np.any(strong != view(jax.random.key(4), images))
    return rgb, np.asarray(views.to_rgb(strong, BGR))


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


def test_views_of_one_image_that_is_not_square(fast_compile):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 8, 3)), jnp.float32)
    view = jax.jit(functools.partial(views.strong_view, normalize=RGB))
    assert view(jax.random.key(0), images).shape == images.shape
    assert draw_boxes(jax.random.key(0), views.random_boxes, 1).shape == (1, *SIZE)
