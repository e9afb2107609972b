"""Random changes of colour and sharpness, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.data import Normalize

# Mittal et al.'s; UniMatch jitters more.
JITTER = 0.4  # of brightness, contrast and saturation: factors from 0.6 to 1.4
HUE = 0.1  # of the colour circle, either way
# UniMatch's too.
BLURRED = 0.5  # share of images
SIGMA = (0.1, 2.0)  # of the blur, pixels
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue


def photometric(rng: jax.Array, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Jitters the colours of each image by factors of its own, then blurs some.

    Args:
      rng: says what happens to each image.
      images: RGB, 0-255.
    """
    jitter_rng, blur_rng = jax.random.split(rng)
    return blur_some(blur_rng, jitter(jitter_rng, images, JITTER, HUE))


def jitter(
    rng: jax.Array, images: Float[Array, "B H W 3"], strength: float, hue: float
) -> Float[Array, "B H W 3"]:
    """Changes the colours of each image by factors of its own.

    Brightness, contrast, saturation, hue, in this order, as torchvision's `ColorJitter` computes
    them; it draws the order too.

    Args:
      rng: says what happens to each image.
      images: RGB, 0-255.
      strength: how far from 1 the factors of brightness, contrast and saturation go.
      hue: how far it is turned at most, as a part of the colour circle.
    """
    factor_rng, hue_rng = jax.random.split(rng)
    shape = (len(images), 1, 1, 1)
    brightness, contrast, saturation = jax.random.uniform(
        factor_rng, (3, *shape), minval=1 - strength, maxval=1 + strength
    )
    x = adjust_brightness(images, brightness)
    x = adjust_contrast(x, contrast)
    x = adjust_saturation(x, saturation)
    return shift_hue(x, jax.random.uniform(hue_rng, shape[:3], minval=-hue, maxval=hue))


def blur_some(
    rng: jax.Array, images: Float[Array, "B H W 3"], share: float = BLURRED
) -> Float[Array, "B H W 3"]:
    """Blurs a share of the images, each by a sigma from `SIGMA`."""
    sigma_rng, blurred_rng = jax.random.split(rng)
    sigma = jax.random.uniform(sigma_rng, (len(images),), minval=SIGMA[0], maxval=SIGMA[1])
    is_blurred = jax.random.bernoulli(blurred_rng, share, (len(images), 1, 1, 1))
    return jnp.where(is_blurred, blur(images, sigma), images)


def adjust_brightness(
    images: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies images, within 0-255."""
    return _blend(images, jnp.zeros_like(images), factor)


def adjust_contrast(
    images: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies the distance to each image's mean luma, within 0-255."""
    return _blend(images, jnp.mean(grey(images), axis=(1, 2, 3), keepdims=True), factor)


def adjust_saturation(
    images: Float[Array, "B H W 3"], factor: Float[Array, "B 1 1 1"]
) -> Float[Array, "B H W 3"]:
    """Multiplies the distance to each pixel's luma, within 0-255."""
    return _blend(images, grey(images), factor)


def shift_hue(
    images: Float[Array, "B H W 3"], shift: Float[Array, "B 1 1"]
) -> Float[Array, "B H W 3"]:
    """Shifts the hue of RGB images by a share of the colour circle; value and chroma stay."""
    red, green, blue = jnp.moveaxis(images, -1, 0)
    value = jnp.max(images, axis=-1)
    chroma = value - jnp.min(images, axis=-1)
    unit = jnp.where(chroma > 0, chroma, 1)
    sector = jnp.where(
        value == red,
        (green - blue) / unit,
        jnp.where(value == green, 2 + (blue - red) / unit, 4 + (red - green) / unit),
    )  # of six, each from one of red, yellow, green, cyan, blue, magenta to the next
    distances = jnp.array([5.0, 3.0, 1.0]) + (sector + 6 * shift)[..., None]
    k = jnp.mod(distances, 6)
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def blur(images: Float[Array, "B H W 3"], sigma: Float[Array, " B"]) -> Float[Array, "B H W 3"]:
    """Gaussian blur with a sigma for each image, in pixels, normalized at the edges."""

    def weights(size: int) -> Float[Array, "B N N"]:
        distance = jnp.arange(size)[:, None] - jnp.arange(size)
        exponent = -0.5 * jnp.square(distance / sigma[:, None, None])
        return jax.nn.softmax(exponent, axis=-1)

    _, height, width, _ = images.shape
    x = jnp.einsum("bph,bhwc->bpwc", weights(height), images)
    return jnp.einsum("bqw,bpwc->bpqc", weights(width), x)


def grey(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 1"]:
    """Returns the luma of RGB images."""
    return jnp.sum(images * jnp.array(LUMA), axis=-1, keepdims=True)


def to_rgb(images: Float[Array, "B H W 3"], normalize: Normalize) -> Float[Array, "B H W 3"]:
    """Returns the RGB images, 0-255, that `normalize` has normalized."""
    images = images * jnp.array(normalize.std) + jnp.array(normalize.mean)
    return images[..., ::-1] if normalize.channel_order == "bgr" else images


def from_rgb(images: Float[Array, "B H W 3"], normalize: Normalize) -> Float[Array, "B H W 3"]:
    """Normalizes a batch of RGB images on the device as `normalize` does an image in NumPy."""
    images = images[..., ::-1] if normalize.channel_order == "bgr" else images
    return (images - jnp.array(normalize.mean)) / jnp.array(normalize.std)


def _blend(x: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(factor * x + (1 - factor) * other, 0, 255)
