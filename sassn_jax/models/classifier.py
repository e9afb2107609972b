"""The network that says which classes occur in an image."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.layers import NORMS, Conv, torch_default_init, widened
from sassn_jax.models.resnet import ARCHITECTURES, LAYOUTS, ResNet


class Classifier(nn.Module):
    """A trunk, the mean of its features over the image, and a linear layer (He et al. 2016).

    The trunk is that of the segmentation network, of the same sizes and dilations, so that the
    same file of weights starts both. Mittal et al. take torchvision's ResNet-101 as it is, which
    strides where this one dilates.

    Attributes:
      num_classes: channels of the output.
      backbone: a name in `ARCHITECTURES`.
      norm: of the trunk, see `BatchNorm`.
      layout: of the trunk, see `ResNet`.
      dtype: of the computation, None for the images'; parameters, statistics and logits are
        float32.
      remat: of the trunk, see `ResNet`.

    Raises:
      InputError: for another `backbone`, `norm` or `layout`.
    """

    num_classes: int
    backbone: str = "resnet101"
    norm: str = "batch_frozen_affine"
    layout: str = "caffe"
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        check_name("backbone", self.backbone, ARCHITECTURES)
        check_name("norm", self.norm, NORMS)
        check_name("layout", self.layout, LAYOUTS)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B C"]:
        """Returns a logit for each class: more than one may occur, or none.

        Args:
          images: normalized.
          train: whether normalization may use batch statistics.
          groups: interleaved parts of the batch with statistics of their own.
        """
        architecture = ARCHITECTURES[self.backbone]
        trunk = ResNet(architecture, self.layout, self.norm, self.remat, name="backbone")
        _, features = trunk(images.astype(self.dtype or images.dtype), train=train, groups=groups)
        pooled = jnp.mean(widened(features), axis=(1, 2), keepdims=True)
        linear = Conv(
            self.num_classes, 1, use_bias=True, kernel_init=torch_default_init, name="linear"
        )
        return linear(pooled)[:, 0, 0]
