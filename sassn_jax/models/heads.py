"""What turns the trunk's features into class logits."""

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.models.layers import Conv


class DeepLabV2Head(nn.Module):
    """The sum of 3x3 classifiers at several dilations (DeepLabv2's ASPP, section 3.2).

    Attributes:
      num_classes: channels of the output.
      rates: a dilation for each classifier, in pixels of the feature map. AdvSemiSeg's code and its
        descendants evaluate only the first two of (6, 12, 18, 24).
    """

    num_classes: int
    rates: tuple[int, ...] = (6, 12, 18, 24)

    @nn.compact
    def __call__(self, features: Float[Array, "B h w D"]) -> Float[Array, "B h w C"]:
        """Returns logits at the size of the features."""
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
