"""Dilated bottleneck ResNet, output stride 8: the trunk of the segmentation networks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.layers import NORMS, BatchNorm, Conv, max_pool, relu


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The size of a trunk: channels of the stem, width of stage 1, blocks of each stage."""

    stem: int
    width: int
    blocks: tuple[int, int, int, int]


ARCHITECTURES = {
    "resnet101": Architecture(stem=64, width=64, blocks=(3, 4, 23, 3)),
    "resnet50": Architecture(stem=64, width=64, blocks=(3, 4, 6, 3)),
    "resnet50_thin": Architecture(stem=64, width=32, blocks=(3, 4, 6, 3)),
    "resnet_tiny": Architecture(stem=16, width=16, blocks=(1, 1, 1, 1)),
}

# A file of weights does not say for which layout they were trained.
LAYOUTS = ("caffe", "torchvision")

EXPANSION = 4  # channels out of a bottleneck, in widths
STRIDES = (1, 2, 1, 1)  # of the four stages; the last two dilate instead
DILATIONS = (1, 1, 2, 4)  # of the stages


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (He et al. 2016, section 4.1).

    Attributes:
      width: channels of the 3x3 convolution; the block gives `EXPANSION` times as many.
      stride: of the block.
      dilation: of the 3x3 convolution.
      project: whether the shortcut is a 1x1 convolution.
      stride_in_first: stride in the first 1x1 (Caffe) rather than in the 3x3 (torchvision).
      norm: see `BatchNorm`.
    """

    width: int
    stride: int
    dilation: int
    project: bool
    stride_in_first: bool
    norm: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool, groups: int
    ) -> Float[Array, "B h w D"]:
        """Returns the block's output after the last ReLU."""

        def norm(name: str, y: jax.Array) -> jax.Array:
            return BatchNorm(self.norm, name=name)(y, train=train, groups=groups)

        features = EXPANSION * self.width
        first, second = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        y = relu(norm("bn1", Conv(self.width, 1, stride=first, name="conv1")(x)))
        conv2 = Conv(self.width, 3, stride=second, dilation=self.dilation, name="conv2")
        y = relu(norm("bn2", conv2(y)))
        y = norm("bn3", Conv(features, 1, name="conv3")(y))
        if self.project:
            shortcut = Conv(features, 1, stride=self.stride, name="downsample_conv")
            x = norm("downsample_bn", shortcut(x))
        return relu(x + y)


class ResNet(nn.Module):
    """A ResNet whose last two stages dilate instead of striding, as in DeepLabv2.

    Both layouts have the same parameters. `caffe`, that of DeepLabv2: the first 1x1 of a block
    strides, the pooling rounds up (321 gives 41, and 512x1024 gives 65x129), and every block of a
    stage has the stage's dilation. `torchvision`: the 3x3 strides, the pooling rounds down
    (64x128), and the first block of a stage has the dilation of the stage before.

    Attributes:
      architecture: its size, one of `ARCHITECTURES`.
      layout: one of `LAYOUTS`.
      norm: see `BatchNorm`.
      remat: whether the forward pass keeps only the input of each block, and the backward pass
        computes the block again: less memory for a second forward pass. Blocks and not stages,
        since the 23 blocks of a ResNet-101's third stage take most of the memory. XLA's CPU
        compiler undoes it.

    Raises:
      InputError: for an unknown `layout` or `norm`.
    """

    architecture: Architecture
    layout: str = "caffe"
    norm: str = "batch_frozen_affine"
    remat: bool = False

    def __post_init__(self) -> None:
        check_name("layout", self.layout, LAYOUTS)
        check_name("norm", self.norm, NORMS)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "B H W 3"],
        *,
        train: bool,
        groups: int = 1,
        after_layer3: Callable[[jax.Array], jax.Array] = lambda x: x,
    ) -> tuple[Float[Array, "B h w C"], Float[Array, "B h w D"]]:
        """Returns the features of stages 3 and 4, at an eighth of the images' size.

        Args:
          images: normalized.
          train: whether normalization may use batch statistics.
          groups: interleaved parts of the batch with statistics of their own.
          after_layer3: applied to the features of stage 3 before stage 4 takes them.
        """

        def apply(block: Callable[..., jax.Array], x: jax.Array) -> jax.Array:
            return block(x, train=train, groups=groups)

        if self.remat:
            apply = nn.remat(apply)
        x = Conv(self.architecture.stem, 7, stride=2, padding=3, name="conv1")(images)
        x = relu(BatchNorm(self.norm, name="bn1")(x, train=train, groups=groups))
        x = max_pool(x, ceil=self.layout == "caffe")
        stages = []
        for stage, blocks in enumerate(self.architecture.blocks):
            for block in range(blocks):
                late = self.layout == "torchvision" and block == 0
                bottleneck = Bottleneck(
                    width=self.architecture.width * 2**stage,
                    stride=STRIDES[stage] if block == 0 else 1,
                    dilation=DILATIONS[max(0, stage - late)],
                    project=block == 0,
                    stride_in_first=self.layout == "caffe",
                    norm=self.norm,
                    name=f"layer{stage + 1}_{block}",
                )
                x = apply(bottleneck, x)
            if stage == 2:
                x = after_layer3(x)
            stages.append(x)
        return stages[2], stages[3]


def make_resnet(backbone: str, layout: str, norm: str, remat: bool, **kwargs: Any) -> ResNet:
    """Returns a `ResNet` by the name of its architecture, a name in `ARCHITECTURES`.

    Raises:
      InputError: for an unknown `backbone`, `layout` or `norm`.
    """
    check_name("backbone", backbone, ARCHITECTURES)
    return ResNet(ARCHITECTURES[backbone], layout, norm, remat, **kwargs)
