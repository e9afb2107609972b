"""The head of FCN-8s: scores of three stages of a VGG-16, added up (Long et al. 2015).

The paper quotes 67.2 for VOC 2012 and 65.3 for Cityscapes. Both are results on test splits, beside
its own results on validation splits; the second is by the Cityscapes team. On the 736 validation
images of VOC 2011 that the authors use, FCN-8s has 65.5.

The authors add the finer scores one after the other, in three trainings; or they train all at once
from Caffe's VGG-16, whose features are in the hundreds, and scale pool4 by 0.01 and pool3 by
0.0001. Here all is trained at once and nothing is scaled: torchvision's weights give smaller
features.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.models.layers import Conv, bilinear_deconvolution, widened

# Zeros around the image, so that any image is larger than the trunk's receptive field of 404
# pixels. The offsets cut off what the zeros add to the maps, as the published network does.
PADDING = 100
OFFSET_POOL4, OFFSET_POOL3, OFFSET_IMAGE = 5, 9, 31


class FCN8sHead(nn.Module):
    """Classifiers on fc7, pool4 and pool3, each upsampled to the next and added to it.

    The upsampling is bilinear and has no parameters: the published network keeps its deconvolutions
    at their initial values. The classifiers start at zero.

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
