"""The network that says which classes occur in an image."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.models.layers import BiasedConv, widened
from sassn_jax.models.resnet import ResNet, make_resnet


class Classifier(nn.Module):
    """A trunk, the mean of its features over the image, and a linear layer (He et al. 2016).

    The trunk is the segmentation network's, so that one file of weights starts both. Mittal et al.
    take torchvision's ResNet-101, which strides where this trunk dilates.

    Attributes:
      num_classes: channels of the output.
      backbone: see `make_resnet`, as are `norm`, `layout` and `remat`.
      dtype: of the computation, None for the images'; parameters, statistics and logits are
        float32.

    Raises:
      InputError: for an unknown `backbone`, `norm` or `layout`.
    """

    num_classes: int
    backbone: str = "resnet101"
    norm: str = "batch_frozen_affine"
    layout: str = "caffe"
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        self.make_backbone(parent=None)  # raises for an unknown name
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B C"]:
        """Returns a logit for each class, of which any number may occur in an image.

        Args:
          images: normalized.
          train: whether normalization may use batch statistics.
          groups: interleaved parts of the batch with statistics of their own.
        """
        trunk = self.make_backbone(name="backbone")
        _, features = trunk(images.astype(self.dtype or images.dtype), train=train, groups=groups)
        pooled = jnp.mean(widened(features), axis=(1, 2), keepdims=True)
        return BiasedConv(self.num_classes, 1, name="linear")(pooled)[:, 0, 0]

    def make_backbone(self, **kwargs: Any) -> ResNet:
        """Returns the trunk; `kwargs` are `parent` and `name`, as of any module."""
        return make_resnet(self.backbone, self.layout, self.norm, self.remat, **kwargs)
