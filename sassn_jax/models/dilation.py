"""The head of Dilation8 and Dilation10 on a dilated VGG-16 (Yu and Koltun 2016).

The paper quotes 73.9 for VOC 2012 and 67.1 for Cityscapes as of Dilation10. The first is of
Dilation8 with a CRF-RNN behind it, on the validation split; the second is of the test split.

The authors train the front end, then the context module, then both together. Here, with few images,
both are trained together from the start.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.models.layers import BiasedConv, bilinear_deconvolution, relu, widened

# Dilations of the context module's 3x3 convolutions: "basic" in the paper's Table 1, which the
# authors' code trains. The VOC model that they released is "large", of up to 672 channels.
CONTEXTS = {
    "dilation8": (1, 1, 2, 4, 8, 16, 1),
    "dilation10": (1, 1, 2, 4, 8, 16, 32, 64, 1),
}
STRIDE = 8  # of the trunk
# Pixels of reflection around an image: a position sees 380 pixels a side, its own 8 in the middle.
MARGIN = 186
NOISE = 0.01  # standard deviation, around the identity that the context module starts as


def reflect(images: Float[Array, "B H W 3"]) -> Float[Array, "B h w 3"]:
    """Surrounds images with their reflection, as the trunk's convolutions are not padded.

    An image smaller than `MARGIN` is reflected several times. At the right and at the bottom the
    reflection goes on to a multiple of `STRIDE`.
    """
    border = [(MARGIN, MARGIN + -side % STRIDE) for side in images.shape[1:3]]
    return jnp.pad(images, ((0, 0), *border, (0, 0)), mode="reflect")


class DilationHead(nn.Module):
    """A 1x1 classifier, and a context module that lets its scores see further.

    The context module starts close to the identity on scores above 0; its ReLUs remove the others.

    Attributes:
      num_classes: channels of every layer.
      dilations: of the context module's 3x3 convolutions, before its last, 1x1.
    """

    num_classes: int
    dilations: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Float[Array, "B h w D"]) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features."""
        conv = functools.partial(BiasedConv, self.num_classes, kernel_init=near_identity)
        small = nn.initializers.normal(0.001)
        x = conv(1, kernel_init=small, name="classifier")(features)
        for i, dilation in enumerate(self.dilations, start=1):
            x = relu(conv(3, dilation=dilation, name=f"context{i}")(x))
        return conv(1, name="context_final")(x)


def upsample(logits: Float[Array, "B h w C"], size: tuple[int, int]) -> Float[Array, "B H W C"]:
    """Returns logits at `size`, the height and width of the images before `reflect`."""
    return bilinear_deconvolution(widened(logits), STRIDE, size, offset=STRIDE // 2)


def near_identity(
    key: jax.Array, shape: tuple[int, int, int, int], dtype: Any = jnp.float32
) -> Float[Array, "K K C C"]:
    """Initializes a kernel that passes each channel on, plus a little noise (section 3)."""
    middle = shape[0] // 2
    noise = NOISE * jax.random.normal(key, shape, dtype)
    return noise.at[middle, middle].add(jnp.eye(shape[2], dtype=dtype))
