"""The segmentation networks on a VGG-16: FCN-8s, Dilation8 and Dilation10."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.dilation import CONTEXTS, DilationHead, reflect, upsample
from sassn_jax.models.fcn8s import PADDING, FCN8sHead
from sassn_jax.models.vgg import ARCHITECTURES, VGG

HEADS = ("fcn8s", *CONTEXTS)


class VGGNetwork(nn.Module):
    """A segmentation network on a VGG-16, used like `Generator`.

    Attributes:
      num_classes: channels of the output.
      backbone: a name in `vgg.ARCHITECTURES`.
      head: a name in `HEADS`.
      dtype: of the computation, None for the images'; parameters and logits are float32.
      remat: of the trunk, see `VGG`.

    Raises:
      InputError: for an unknown `backbone` or `head`.
    """

    num_classes: int
    backbone: str = "vgg16"
    head: str = "fcn8s"
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        check_name("backbone", self.backbone, ARCHITECTURES)
        check_name("head", self.head, HEADS)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W 3"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B H W C"]:
        """Returns logits at the size of the images.

        Args:
          images: normalized, of any size.
          train: whether dropout is on.
          groups: as of `Generator`; it changes nothing, since there are no statistics.
        """
        _, height, width, _ = images.shape
        images = images.astype(self.dtype or images.dtype)
        trunk = self.make_backbone(parent=self, name="backbone")
        if self.head == "fcn8s":
            features = trunk(images, train=train)
            return FCN8sHead(self.num_classes, name="head")(*features, size=(height, width))
        *_, fc7 = trunk(reflect(images), train=train)
        head = DilationHead(self.num_classes, CONTEXTS[self.head], name="head")
        return upsample(head(fc7), (height, width))

    def make_backbone(self, **kwargs: Any) -> VGG:
        """Returns the trunk, as a module of its own unless `parent` is given."""
        is_fcn = self.head == "fcn8s"
        return VGG(
            ARCHITECTURES[self.backbone],
            poolings=5 if is_fcn else 3,
            padding=1 if is_fcn else 0,
            first_padding=PADDING if is_fcn else 0,
            remat=self.remat,
            **{"parent": None, **kwargs},
        )
