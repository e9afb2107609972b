"""Random views of unlabelled images, for losses that compare predictions; made on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from sassn_jax.data import Normalize
from sassn_jax.methods.photometric import BLURRED, blur_some, from_rgb, grey, jitter, to_rgb

# UniMatch's strong views, in its `dataset/semi.py` and `dataset/transform.py`.
JITTERED = 0.8  # share of images
JITTER = 0.5  # of brightness, contrast and saturation: factors from 0.5 to 1.5
HUE = 0.25  # of the colour circle, either way
GREYED = 0.2  # share of images
BOXED = 0.5  # share of images
BOX_AREA = (0.02, 0.4)  # of the image
BOX_ASPECT = (0.3, 1 / 0.3)


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
    """Draws a box of `BOX_AREA` for half of the images, as UniMatch does.

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
    return boxes & jax.random.bernoulli(any_rng, BOXED, (count, 1, 1))


def mix(x: Shaped[Array, "B H W *C"], boxes: Bool[Array, "B H W"]) -> Shaped[Array, "B H W *C"]:
    """Pastes into the box of each image what the next image of the batch has there.

    The last image takes it from the first.

    The only image of a batch of one is its own partner and comes back as it was.

    Args:
      x: images, labels, probabilities or anything else that has a value for each pixel.
      boxes: True where the other image's are to be.
    """
    return paste(boxes, jnp.roll(x, -1, axis=0), x)


def paste(
    pixels: Bool[Array, "B H W"],
    other: Shaped[Array, "B H W *C"],
    x: Shaped[Array, "B H W *C"],
) -> Shaped[Array, "B H W *C"]:
    """Returns `other` at some pixels, and `x` elsewhere."""
    return jnp.where(pixels.reshape(*pixels.shape, *(1 for _ in x.shape[3:])), other, x)


def strong_view(
    rng: jax.Array,
    images: Float[Array, "B H W 3"],
    normalize: Normalize,
    strength: float = 1.0,
) -> Float[Array, "B H W 3"]:
    """Changes colours and sharpness of each image at random, as UniMatch does.

    Colours are jittered, then made grey, then blurred, each in its share of the images. Values are
    not rounded in between.

    Args:
      rng: of this view.
      images: normalized.
      normalize: that was applied to them.
      strength: factor of how far colours are jittered, and of the shares of images that are made
        grey and blurred; at most 1. With 0 the images come back as they were, but for rounding.

    Returns:
      The images, normalized again.
    """
    jitter_rng, is_jittered_rng, is_grey_rng, blur_rng = jax.random.split(rng, 4)

    def sometimes(rng: jax.Array, share: float, new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(rng, share, (len(images), 1, 1, 1)), new, old)

    x = to_rgb(images, normalize)
    jittered = jitter(jitter_rng, x, strength * JITTER, strength * HUE)
    x = sometimes(is_jittered_rng, JITTERED, jittered, x)
    x = sometimes(is_grey_rng, strength * GREYED, grey(x), x)
    return from_rgb(blur_some(blur_rng, x, strength * BLURRED), normalize)


def _place_boxes(
    rng: jax.Array,
    heights: Float[Array, " B"],
    widths: Float[Array, " B"],
    size: tuple[int, int],
) -> Bool[Array, "B H W"]:
    """Places boxes at random; `heights` and `widths` are shares of the image, rounded to pixels."""
    inside = []
    for share, side, key in zip((heights, widths), size, jax.random.split(rng), strict=True):
        length = jnp.round(share * side)
        start = jnp.round((side - length) * jax.random.uniform(key, share.shape))
        pixels = jnp.arange(side) - start[:, None]
        inside.append((pixels >= 0) & (pixels < length[:, None]))
    rows, columns = inside
    return rows[:, :, None] & columns[:, None, :]
