"""Dilation8 and Dilation10: a dilated VGG-16 and a context module (Yu and Koltun 2016)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.layers import Conv, bilinear_deconvolution, relu, widened
from sassn_jax.models.vgg import ARCHITECTURES, VGG

# Dilations of the context module's 3x3 convolutions ("basic" in the paper's Table 1, which is what
# the authors' code trains; the VOC model that they released is "large", of up to 672 channels).
CONTEXTS = {
    "dilation8": (1, 1, 2, 4, 8, 16, 1),
    "dilation10": (1, 1, 2, 4, 8, 16, 32, 64, 1),
}
STRIDE = 8  # of the trunk
# Reflected around an image: a position sees 380 pixels a side, its own 8 in their middle.
MARGIN = 186
NOISE = 0.01  # standard deviation, around the identity that the context module starts as


class DilationHead(nn.Module):
    """A 1x1 classifier, and convolutions that let its scores see ever further.

    The context module starts close to the identity on scores that are not negative; its ReLUs take
    away those that are.

    Attributes:
      num_classes: channels of every layer.
      dilations: of the context module's 3x3 convolutions; behind them is a 1x1.
    """

    num_classes: int
    dilations: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Float[Array, "B h w D"]) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features."""
        classes, small = self.num_classes, nn.initializers.normal(0.001)
        x = Conv(classes, 1, use_bias=True, kernel_init=small, name="classifier")(features)
        for i, dilation in enumerate(self.dilations, start=1):
            conv = Conv(
                classes,
                3,
                dilation=dilation,
                use_bias=True,
                kernel_init=near_identity,
                name=f"context{i}",
            )
            x = relu(conv(x))
        return Conv(classes, 1, use_bias=True, kernel_init=near_identity, name="context_final")(x)


class Dilation(nn.Module):
    """Dilation8 or Dilation10, a segmentation network like `Generator`.

    The front end's convolutions are not padded: the images are, with their own reflection, repeated
    as often as it takes around an image of less than `MARGIN` pixels. To the right and at the
    bottom it goes on to a multiple of `STRIDE`. The bilinear upsampling is no parameter.

    The paper quotes 73.9 for VOC 2012 and 67.1 for Cityscapes as of Dilation10. The first is of
    Dilation8 with a CRF-RNN behind it, on the validation split; the second is of the test split.

    Its authors train the front end, the context module and both, one after the other; with few
    images, as here, both at once.

    Attributes:
      num_classes: channels of the output.
      backbone: a name in `vgg.ARCHITECTURES`.
      head: a name in `CONTEXTS`.
      dtype: of the computation, None for the images'; parameters and logits are float32.
      remat: of the trunk, see `VGG`.

    Raises:
      InputError: for another `backbone` or `head`.
    """

    num_classes: int
    backbone: str = "vgg16"
    head: str = "dilation8"
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        check_name("backbone", self.backbone, ARCHITECTURES)
        check_name("head", self.head, CONTEXTS)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B H W C"]:
        """Returns logits at the size of the images.

        Args:
          images: normalized, of any size.
          train: whether dropout may drop.
          groups: as of `Generator`; there are no statistics for it to divide.
        """
        _, height, width, _ = images.shape
        border = [(MARGIN, MARGIN + -side % STRIDE) for side in (height, width)]
        padded = jnp.pad(
            images.astype(self.dtype or images.dtype), ((0, 0), *border, (0, 0)), mode="reflect"
        )
        *_, features = self.make_backbone(parent=self, name="backbone")(padded, train=train)
        logits = DilationHead(self.num_classes, CONTEXTS[self.head], name="head")(features)
        return bilinear_deconvolution(widened(logits), STRIDE, (height, width), offset=STRIDE // 2)

    def make_backbone(self, **kwargs: Any) -> VGG:
        """Returns the trunk as a module of its own, for those who load weights into it."""
        return VGG(
            ARCHITECTURES[self.backbone],
            poolings=3,
            padding=0,
            first_padding=0,
            remat=self.remat,
            **{"parent": None, **kwargs},
        )


def near_identity(
    key: jax.Array, shape: tuple[int, int, int, int], dtype: Any = jnp.float32
) -> Float[Array, "K K C C"]:
    """Initializes a kernel that passes each channel on, but for a little noise (section 3)."""
    middle = shape[0] // 2
    noise = NOISE * jax.random.normal(key, shape, dtype)
    return noise.at[middle, middle].add(jnp.eye(shape[2], dtype=dtype))
