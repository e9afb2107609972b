"""VGG-16 as a fully convolutional trunk (Simonyan and Zisserman 2015, configuration D)."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.models.layers import Conv, relu

CONVOLUTIONS = (2, 2, 3, 3, 3)  # of the five stages
DROPOUT = 0.5  # after fc6 and fc7


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The size of a trunk: channels of each stage, and of fc6 and fc7."""

    widths: tuple[int, int, int, int, int]
    fully_connected: int


ARCHITECTURES = {
    "vgg16": Architecture(widths=(64, 128, 256, 512, 512), fully_connected=4096),
    "vgg_tiny": Architecture(widths=(8, 16, 16, 32, 32), fully_connected=64),
}


class VGG(nn.Module):
    """VGG-16 without its last layer; the fully connected layers fc6 and fc7 are convolutions.

    Each pooling that is left out doubles the dilation of all later convolutions, so that they see
    the same pixels as in the classifier (Yu and Koltun 2016, section 4). With `train` the trunk
    draws from the random stream `dropout`.

    Attributes:
      architecture: its size, one of `ARCHITECTURES`.
      poolings: how many of the five stages, the first ones, end in a 2x2 max pooling.
      padding: of the 3x3 convolutions, pixels of zeros on each side; fc6, 7x7, is never padded.
      first_padding: of the first convolution.
      remat: whether the backward pass computes each stage again from its input, see `ResNet`.
    """

    architecture: Architecture
    poolings: int = 5
    padding: int = 1
    first_padding: int = 1
    remat: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], *, train: bool
    ) -> tuple[Float[Array, "B h w C"], Float[Array, "B i j D"], Float[Array, "B k l E"]]:
        """Returns the features of stages 3 and 4, each after its pooling if it has one, and of fc7.

        Args:
          images: normalized.
          train: whether dropout is on.
        """
        run_stage = nn.remat(_run_stage, static_argnums=(2,)) if self.remat else _run_stage
        x, stages = images, []
        for stage in range(len(CONVOLUTIONS)):
            x = run_stage(self, x, stage)
            stages.append(x)
        conv = functools.partial(Conv, self.architecture.fully_connected, padding=0, use_bias=True)
        for layer in (conv(7, dilation=self.dilation_of(5), name="fc6"), conv(1, name="fc7")):
            x = nn.Dropout(DROPOUT, deterministic=not train)(relu(layer(x)))
        return stages[2], stages[3], x

    def dilation_of(self, stage: int) -> int:
        """Returns the dilation of a stage, counted from 0; fc6 counts as 5."""
        return 2 ** max(0, stage - self.poolings)


def _run_stage(vgg: VGG, x: jax.Array, stage: int) -> jax.Array:
    """Applies a stage's convolutions, which become children of the trunk, and its pooling."""
    for i in range(CONVOLUTIONS[stage]):
        conv = Conv(
            vgg.architecture.widths[stage],
            3,
            dilation=vgg.dilation_of(stage),
            padding=vgg.first_padding if stage == i == 0 else vgg.padding,
            use_bias=True,
            name=f"conv{stage + 1}_{i + 1}",
        )
        x = relu(conv(x))
    return max_pool_2x2(x) if stage < vgg.poolings else x


def max_pool_2x2(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """2x2 max pooling at stride 2, its size rounded up as in Caffe: 5 gives 3.

    Maxima of slices, for the reasons given at `layers.max_pool`.
    """
    for axis in (1, 2):
        padding = [(0, 0, 0)] * x.ndim
        padding[axis] = (0, x.shape[axis] % 2, 0)
        padded = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), padding)
        first, second = (
            jax.lax.slice_in_dim(padded, tap, None, stride=2, axis=axis) for tap in (0, 1)
        )
        x = jnp.maximum(first, second)
    return x
