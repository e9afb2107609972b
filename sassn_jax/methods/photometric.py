"""Random changes of colour and sharpness, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

JITTER = 0.4  # of brightness, contrast and saturation: factors from 0.6 to 1.4
HUE = 0.1  # of the colour circle, either way
BLURRED = 0.5  # share of images
SIGMA = (0.1, 2.0)  # of the blur, pixels
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue


def photometric(rng: jax.Array, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Jitters the colours of each image by factors of its own, then blurs some.

    Brightness, contrast, saturation, hue, in this order, as torchvision's `ColorJitter` computes
    them; it draws the order too.

    Args:
      rng: says what happens to each image.
      images: RGB, 0-255.
    """
    factors, hues, sigmas, blurred = jax.random.split(rng, 4)
    shape = (len(images), 1, 1, 1)
    low, high = 1 - JITTER, 1 + JITTER
    brightness, contrast, saturation = jax.random.uniform(
        factors, (3, *shape), minval=low, maxval=high
    )
    x = jnp.clip(brightness * images, 0, 255)
    x = _blend(x, jnp.mean(_grey(x), axis=(1, 2, 3), keepdims=True), contrast)
    x = _blend(x, _grey(x), saturation)
    x = shift_hue(x, jax.random.uniform(hues, shape[:3], minval=-HUE, maxval=HUE))
    sigma = jax.random.uniform(sigmas, (len(x),), minval=SIGMA[0], maxval=SIGMA[1])
    is_blurred = jax.random.bernoulli(blurred, BLURRED, shape)
    return jnp.where(is_blurred, blur(x, sigma), x)


def shift_hue(
    images: Float[Array, "B H W 3"], shift: Float[Array, "B 1 1"]
) -> Float[Array, "B H W 3"]:
    """Turns the hue of RGB images, by a part of the colour circle; value and chroma stay."""
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
    """Gaussian blur by each image's own sigma, in pixels; at edges over the pixels there are."""

    def weights(size: int) -> Float[Array, "B N N"]:
        distance = jnp.arange(size)[:, None] - jnp.arange(size)
        exponent = -0.5 * jnp.square(distance / sigma[:, None, None])
        return jax.nn.softmax(exponent, axis=-1)

    _, height, width, _ = images.shape
    x = jnp.einsum("bph,bhwc->bpwc", weights(height), images)
    return jnp.einsum("bqw,bpwc->bpqc", weights(width), x)


def _grey(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 1"]:
    return jnp.sum(images * jnp.array(LUMA), axis=-1, keepdims=True)


def _blend(x: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(factor * x + (1 - factor) * other, 0, 255)
