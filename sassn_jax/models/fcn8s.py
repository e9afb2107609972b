"""FCN-8s: VGG-16 with scores of three of its stages added up (Long et al. 2015)."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.layers import Conv, bilinear_deconvolution, widened
from sassn_jax.models.vgg import ARCHITECTURES, VGG

# Zeros around the image, so that an image of any size gives a score: the trunk's receptive field is
# 404 pixels. What they add to the maps is cut off again, as the published network does.
PADDING = 100
OFFSET_POOL4, OFFSET_POOL3, OFFSET_IMAGE = 5, 9, 31


class FCN8sHead(nn.Module):
    """Classifiers on fc7, pool4 and pool3, each upsampled to the next and added to it.

    The upsampling is bilinear and no parameter: the published network keeps its deconvolutions at
    their initial values. The classifiers start at zero.

    Attributes:
      num_classes: channels of the output.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self,
        pool3: Float[Array, "B h w C"],
        pool4: Float[Array, "B i j D"],
        fc7: Float[Array, "B k l E"],
        *,
        size: tuple[int, int],
    ) -> Float[Array, "B H W N"]:
        """Returns logits at `size`, the height and width of the images."""

        def score(name: str, features: Float[Array, "B h w C"]) -> Float[Array, "B h w N"]:
            zeros = nn.initializers.zeros
            conv = Conv(self.num_classes, 1, use_bias=True, kernel_init=zeros, name=name)
            return widened(conv(features))

        scores = score("score_fr", fc7)
        for name, features, offset in (
            ("score_pool4", pool4, OFFSET_POOL4),
            ("score_pool3", pool3, OFFSET_POOL3),
        ):
            height, width = (2 * (side + 1) for side in scores.shape[1:3])
            cropped = features[:, offset : offset + height, offset : offset + width]
            scores = bilinear_deconvolution(scores, 2, (height, width)) + score(name, cropped)
        return bilinear_deconvolution(scores, 8, size, offset=OFFSET_IMAGE)


class FCN8s(nn.Module):
    """FCN-8s, a segmentation network like `Generator`.

    The paper quotes 67.2 for VOC 2012 and 65.3 for Cityscapes: both are of the test splits, the
    second by the benchmark's own team, beside its own numbers on validation splits. On the 736
    validation images that its authors use, of VOC 2011, it has 65.5.

    Its authors add the finer scores one after the other, in three trainings, or scale pool4 by 0.01
    and pool3 by 0.0001 to train it at once from Caffe's VGG-16, whose features are in the hundreds.
    Here it is trained at once and nothing is scaled: torchvision's weights give smaller features.

    Attributes:
      num_classes: channels of the output.
      backbone: a name in `vgg.ARCHITECTURES`.
      dtype: of the computation, None for the images'; parameters and logits are float32.
      remat: of the trunk, see `VGG`.

    Raises:
      InputError: for another `backbone`.
    """

    num_classes: int
    backbone: str = "vgg16"
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        check_name("backbone", self.backbone, ARCHITECTURES)
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
        features = self.make_backbone(parent=self, name="backbone")(
            images.astype(self.dtype or images.dtype), train=train
        )
        return FCN8sHead(self.num_classes, name="head")(*features, size=(height, width))

    def make_backbone(self, **kwargs: Any) -> VGG:
        """Returns the trunk as a module of its own, for those who load weights into it."""
        return VGG(
            ARCHITECTURES[self.backbone],
            first_padding=PADDING,
            remat=self.remat,
            **{"parent": None, **kwargs},
        )
