"""The heads on a ResNet: from its features to class logits."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.errors import InputError
from sassn_jax.models.layers import BatchNorm, BiasedConv, Conv, relu

ASPP_FEATURES = 256
DROPOUT = 0.5
AUXILIARY_DROPOUT = 0.1


class DeepLabV2Head(nn.Module):
    """The sum of 3x3 classifiers at several dilations (DeepLabv2's ASPP, section 3.2).

    Attributes:
      num_classes: channels of the output.
      rates: a dilation for each classifier, in pixels of the feature map. AdvSemiSeg's code and its
        descendants evaluate only the first two of (6, 12, 18, 24).

    Raises:
      InputError: for no rates, or for a rate below 1.
    """

    align_corners: ClassVar[bool] = True  # in resizing the logits
    smallest_batch: ClassVar[int] = 1  # images of a group in training
    num_classes: int
    rates: tuple[int, ...] = (6, 12, 18, 24)

    def __post_init__(self) -> None:
        check_rates("rates", self.rates)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, features: Float[Array, "B h w D"], *, train: bool = False, groups: int = 1
    ) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features; `train` and `groups` change nothing."""
        logits = [
            Conv(
                self.num_classes,
                3,
                dilation=rate,
                use_bias=True,
                kernel_init=nn.initializers.normal(0.01),
                name=f"conv{i}",
            )(features)
            for i, rate in enumerate(self.rates)
        ]
        return sum(logits[1:], logits[0])


class DeepLabV3Head(nn.Module):
    """Parallel convolutions and image pooling, joined (DeepLabv3, section 3.3), as in torchvision.

    Its norms use batch statistics and are trained, whatever the trunk's norms do. The norm of the
    image pooling sees one position an image, so in training each group needs two images or more.
    With `train` the head draws from the random stream `dropout`.

    Attributes:
      num_classes: channels of the output.
      rates: a dilation for each 3x3 convolution, in pixels of the feature map. At an eighth of the
        image's size they are twice the paper's, which are for a sixteenth.

    Raises:
      InputError: for no rates, or for a rate below 1.
    """

    align_corners: ClassVar[bool] = False  # in resizing the logits
    smallest_batch: ClassVar[int] = 2  # images of a group in training
    num_classes: int
    rates: tuple[int, ...] = (12, 24, 36)

    def __post_init__(self) -> None:
        check_rates("rates", self.rates)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, features: Float[Array, "B h w D"], *, train: bool = False, groups: int = 1
    ) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features.

        Args:
          features: of the trunk.
          train: whether normalization uses batch statistics, and dropout is on.
          groups: interleaved parts of the batch with statistics of their own.

        Raises:
          ValueError: in training, where a group has only one image.
        """
        if train and features.shape[0] // groups < self.smallest_batch:
            raise ValueError(
                f"{features.shape[0]} images in {groups} groups: expected at least "
                f"{self.smallest_batch} in each, or the image pooling has no variance"
            )

        def branch(name: str, x: jax.Array, size: int, dilation: int = 1) -> jax.Array:
            """A convolution, its norm of the same name with `bn`, and ReLU."""
            x = Conv(ASPP_FEATURES, size, dilation=dilation, name=name)(x)
            norm = BatchNorm("batch", name=name.replace("conv", "bn"))
            return relu(norm(x, train=train, groups=groups))

        pooled = branch("pool_conv", jnp.mean(features, axis=(1, 2), keepdims=True), 1)
        branches = [
            branch("conv0", features, 1),
            *(branch(f"conv{i}", features, 3, rate) for i, rate in enumerate(self.rates, start=1)),
            jnp.broadcast_to(pooled, (*features.shape[:3], ASPP_FEATURES)),
        ]
        x = branch("project_conv", jnp.concatenate(branches, axis=-1), 1)
        x = nn.Dropout(DROPOUT, deterministic=not train)(x)
        return BiasedConv(self.num_classes, 1, name="classifier")(branch("last_conv", x, 3))


class AuxiliaryHead(nn.Module):
    """A second, smaller head on the features of stage 3, for training (torchvision's `FCNHead`).

    Attributes:
      num_classes: channels of the output.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "B h w D"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features; arguments as of `DeepLabV3Head`."""
        x = Conv(features.shape[-1] // 4, 3, name="conv")(features)
        x = relu(BatchNorm("batch", name="bn")(x, train=train, groups=groups))
        x = nn.Dropout(AUXILIARY_DROPOUT, deterministic=not train)(x)
        return BiasedConv(self.num_classes, 1, name="classifier")(x)


HEADS: dict[str, type[DeepLabV2Head] | type[DeepLabV3Head]] = {
    "deeplabv2": DeepLabV2Head,
    "deeplabv3": DeepLabV3Head,
}


def check_rates(field: str, rates: Sequence[int]) -> None:
    """Raises `InputError` unless a field holds at least one dilation, each at least 1."""
    if not rates or min(rates) < 1:
        raise InputError(f"{field}={rates!r}: expected at least one dilation, each at least 1")
