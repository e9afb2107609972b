"""Views of unlabelled images, for a prediction to stay the same in: boxes, colours and blur.

All of it is computed in the training step, on the device, from a key.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from sassn_jax.data import Normalize

# UniMatch's strong views, in its `dataset/semi.py` and `dataset/transform.py`.
JITTER_PROBABILITY = 0.8
JITTER = 0.5  # of brightness, contrast and saturation: factors from 1 - JITTER to 1 + JITTER
HUE_SHIFT = 0.25  # at most, in turns of the colour wheel
GREY_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BLUR_SIGMA = (0.1, 2.0)  # pixels
BOX_PROBABILITY = 0.5
BOX_AREA = (0.02, 0.4)  # of the image
BOX_ASPECT = (0.3, 1 / 0.3)

LUMA = (0.299, 0.587, 0.114)  # of R, G and B: ITU-R BT.601, as PIL has it


def half_boxes(rng: jax.Array, count: int, size: tuple[int, int]) -> Bool[Array, "B H W"]:
    """Draws a box of half the area for each image, as CutMix for segmentation does.

    The height is `0.5 ** u` of the image's with u from U(0, 1), the width makes the area a half.
    Both are rounded to pixels, so that the area is off by at most `(H + W) / 2 + 1 / 4` pixels.

    Args:
      rng: of this draw.
      count: of images.
      size: height and width of an image, in pixels.

    Returns:
      True inside the box, which lies inside the image.
    """
    side_rng, place_rng = jax.random.split(rng)
    heights = 0.5 ** jax.random.uniform(side_rng, (count,))
    return _place_boxes(place_rng, heights, 0.5 / heights, size)


def random_boxes(rng: jax.Array, count: int, size: tuple[int, int]) -> Bool[Array, "B H W"]:
    """Draws a box of `BOX_AREA` for every image or, half of the time, none, as UniMatch does.

    The aspect, height over width in shares of the image's, is uniform in `BOX_ASPECT`, as far as a
    box of that area fits. UniMatch draws aspect and corner until the box fits, and so comes to
    elongated boxes somewhat less often.

    Args:
      rng: of this draw.
      count: of images.
      size: height and width of an image, in pixels.

    Returns:
      True inside the box, which lies inside the image.
    """
    area_rng, aspect_rng, place_rng, any_rng = jax.random.split(rng, 4)
    area = jax.random.uniform(area_rng, (count,), minval=BOX_AREA[0], maxval=BOX_AREA[1])
    lowest, highest = jnp.maximum(BOX_ASPECT[0], area), jnp.minimum(BOX_ASPECT[1], 1 / area)
    aspect = jax.random.uniform(aspect_rng, (count,), minval=lowest, maxval=highest)
    boxes = _place_boxes(place_rng, jnp.sqrt(area * aspect), jnp.sqrt(area / aspect), size)
    return boxes & jax.random.bernoulli(any_rng, BOX_PROBABILITY, (count, 1, 1))


def mix(x: Shaped[Array, "B H W *C"], boxes: Bool[Array, "B H W"]) -> Shaped[Array, "B H W *C"]:
    """Pastes what the next image of the batch has in the box of each; the last takes the first's.

    The only image of a batch of one is its own partner and comes back as it was.

    Args:
      x: images, labels, probabilities or anything else that has a value for each pixel.
      boxes: True where the other image's are to be.
    """
    boxes = boxes.reshape(*boxes.shape, *(1 for _ in x.shape[3:]))
    return jnp.where(boxes, jnp.roll(x, -1, axis=0), x)


def strong_view(
    rng: jax.Array, images: Float[Array, "B H W 3"], normalize: Normalize
) -> Float[Array, "B H W 3"]:
    """Changes colours and sharpness of each image at random, as UniMatch does.

    Brightness, contrast, saturation and hue in this order, where torchvision shuffles them; then
    grey; then blur; each with its probability. Values are not rounded in between.

    Args:
      rng: of this view.
      images: normalized.
      normalize: that was applied to them.

    Returns:
      The images, normalized again.
    """
    jitter_rng, grey_rng, blur_rng, brightness_rng, contrast_rng, saturation_rng, hue_rng, s_rng = (
        jax.random.split(rng, 8)
    )
    shape = (len(images), 1, 1, 1)

    def draw(rng: jax.Array, low: float, high: float) -> jax.Array:
        return jax.random.uniform(rng, shape, minval=low, maxval=high)

    def sometimes(rng: jax.Array, probability: float, new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(rng, probability, shape), new, old)

    rgb = to_rgb(images, normalize)
    jittered = adjust_brightness(rgb, draw(brightness_rng, 1 - JITTER, 1 + JITTER))
    jittered = adjust_contrast(jittered, draw(contrast_rng, 1 - JITTER, 1 + JITTER))
    jittered = adjust_saturation(jittered, draw(saturation_rng, 1 - JITTER, 1 + JITTER))
    jittered = shift_hue(jittered, draw(hue_rng, -HUE_SHIFT, HUE_SHIFT))
    rgb = sometimes(jitter_rng, JITTER_PROBABILITY, jittered, rgb)
    rgb = sometimes(grey_rng, GREY_PROBABILITY, grey(rgb), rgb)
    rgb = sometimes(blur_rng, BLUR_PROBABILITY, gaussian_blur(rgb, draw(s_rng, *BLUR_SIGMA)), rgb)
    return from_rgb(rgb, normalize)


def to_rgb(images: Float[Array, "B H W 3"], normalize: Normalize) -> Float[Array, "B H W 3"]:
    """Undoes `normalize`: RGB, 0-255."""
    images = images * jnp.asarray(normalize.std) + jnp.asarray(normalize.mean)
    return images[..., ::-1] if normalize.channel_order == "bgr" else images


def from_rgb(rgb: Float[Array, "B H W 3"], normalize: Normalize) -> Float[Array, "B H W 3"]:
    """Does to a batch on the device what `normalize` does to an image in NumPy."""
    images = rgb[..., ::-1] if normalize.channel_order == "bgr" else rgb
    return (images - jnp.asarray(normalize.mean)) / jnp.asarray(normalize.std)


def grey(rgb: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Replaces the three channels by their luma."""
    luma = jnp.sum(rgb * jnp.asarray(LUMA), axis=-1, keepdims=True)
    return jnp.broadcast_to(luma, rgb.shape)


def adjust_brightness(
    rgb: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies, within 0-255."""
    return _blend(rgb, jnp.zeros_like(rgb), factor)


def adjust_contrast(
    rgb: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies the distance to the image's mean luma, within 0-255."""
    return _blend(rgb, jnp.mean(grey(rgb), axis=(1, 2, 3), keepdims=True), factor)


def adjust_saturation(
    rgb: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies the distance to each pixel's luma, within 0-255."""
    return _blend(rgb, grey(rgb), factor)


def shift_hue(
    rgb: Float[Array, "B H W 3"], turns: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Turns the colour wheel of HSV; a third of a turn makes red green."""
    value = jnp.max(rgb, axis=-1, keepdims=True)
    chroma = value - jnp.min(rgb, axis=-1, keepdims=True)
    r, g, b = jnp.split(rgb, 3, axis=-1)
    sixths = jnp.where(
        value == r, g - b, jnp.where(value == g, b - r + 2 * chroma, r - g + 4 * chroma)
    ) / jnp.where(chroma > 0, chroma, 1)
    # Each channel is at its height for two sixths, and falls to its lowest over one on each side.
    position = (sixths + 6 * turns + jnp.asarray([5.0, 3.0, 1.0])) % 6
    return value - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1)


def gaussian_blur(
    rgb: Float[Array, "B H W 3"], sigma: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Blurs each image by its own sigma, in pixels; what lies outside the image takes no part."""

    def matrix(size: int) -> Float[Array, "B O I"]:
        position = jnp.arange(size, dtype=rgb.dtype)
        distance = (position[:, None] - position) / sigma[..., 0]
        weights = jnp.exp(-jnp.square(distance) / 2)
        return weights / jnp.sum(weights, axis=-1, keepdims=True)

    rgb = jnp.einsum("boh,bhwc->bowc", matrix(rgb.shape[1]), rgb)
    return jnp.einsum("bow,bhwc->bhoc", matrix(rgb.shape[2]), rgb)


def _blend(rgb: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(other + factor * (rgb - other), 0, 255)


def _place_boxes(
    rng: jax.Array,
    heights: Float[Array, " B"],
    widths: Float[Array, " B"],
    size: tuple[int, int],
) -> Bool[Array, "B H W"]:
    """Rounds boxes, given in shares of the image, to pixels, and places them at random inside."""
    inside = []
    for share, side, key in zip((heights, widths), size, jax.random.split(rng), strict=True):
        length = jnp.round(share * side)
        start = jnp.round((side - length) * jax.random.uniform(key, share.shape))
        pixels = jnp.arange(side) - start[:, None]
        inside.append((pixels >= 0) & (pixels < length[:, None]))
    rows, columns = inside
    return rows[:, :, None] & columns[:, None, :]
