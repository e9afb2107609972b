"""The segmentation network: trunk, position attention, head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.errors import InputError, check_name
from sassn_jax.models.attention import PositionAttention, check_implementation
from sassn_jax.models.heads import HEADS, AuxiliaryHead, check_rates
from sassn_jax.models.layers import resize_bilinear, widened
from sassn_jax.models.resnet import ResNet, make_resnet

ATTENTION_SITES = ("layer3", "layer4")  # SA1 and SA2 of the paper's Table V
PERTURBATION = 0.5  # the share of channels that UniMatch drops before the head
AUXILIARY = "auxiliary"  # name of the auxiliary head, and of the collection with its logits


class Generator(nn.Module):
    """A segmentation network on a ResNet: class logits for each pixel of an image.

    Attributes:
      num_classes: channels of the output.
      backbone: see `make_resnet`, as are `norm`, `layout` and `remat`.
      head: a name in `HEADS`.
      attention: the stages that position attention follows, a subset of `ATTENTION_SITES`.
      aspp_rates: dilations of the head's convolutions.
      auxiliary_head: whether there is a second head, on stage 3, see `AuxiliaryHead`.
      qk_reduction: see `PositionAttention`.
      attention_implementation: of `position_attention`; None lets it choose.
      dtype: of the computation, None for the images'; parameters, statistics and logits are
        float32.

    Raises:
      InputError: for an unknown name, for empty `aspp_rates`, or for a rate below 1.
    """

    num_classes: int
    backbone: str = "resnet101"
    head: str = "deeplabv2"
    attention: tuple[str, ...] = ATTENTION_SITES
    aspp_rates: tuple[int, ...] = (6, 12, 18, 24)
    auxiliary_head: bool = False
    qk_reduction: int = 8
    norm: str = "batch_frozen_affine"
    layout: str = "caffe"
    attention_implementation: str | None = None
    dtype: str | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        self.make_backbone()  # raises for an unknown name
        check_name("head", self.head, HEADS)
        # This also refuses a string, whose letters are no sites.
        if not set(self.attention) <= set(ATTENTION_SITES):
            raise InputError(
                f"attention={self.attention!r}: expected a subset of {ATTENTION_SITES}"
            )
        check_rates("aspp_rates", self.aspp_rates)
        check_implementation("attention_implementation", self.attention_implementation)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "B H W 3"],
        *,
        train: bool,
        groups: int = 1,
        perturbed_group: int | None = None,
    ) -> Float[Array, "B H W C"]:
        """Returns logits at the size of the images.

        The auxiliary head's logits go to the collection `auxiliary` where that is mutable.

        Args:
          images: normalized.
          train: whether normalization may use batch statistics, and dropout is on.
          groups: interleaved parts of the batch with statistics of their own.
          perturbed_group: the group for which dropout takes half of the channels before the head;
            None for no group.
        """

        def attend(site: str, x: jax.Array) -> jax.Array:
            if site not in self.attention:
                return x
            options = self.qk_reduction, self.attention_implementation
            return PositionAttention(*options, parent=self, name=f"attention{site[-1]}")(x)

        layer3, features = self.make_backbone(parent=self, name="backbone")(
            images.astype(self.dtype or images.dtype),
            train=train,
            groups=groups,
            after_layer3=lambda x: attend("layer3", x),
        )
        features = attend("layer4", features)
        if perturbed_group is not None:
            features = perturb(features, perturbed_group, groups)
        _, height, width, _ = images.shape
        head = HEADS[self.head](self.num_classes, self.aspp_rates, name="head")

        def classify(classifier: nn.Module, x: jax.Array) -> jax.Array:
            logits = widened(classifier(x, train=train, groups=groups))
            return resize_bilinear(logits, (height, width), align_corners=head.align_corners)

        if self.auxiliary_head:
            auxiliary = classify(AuxiliaryHead(self.num_classes, name=AUXILIARY), layer3)
            if not self.is_initializing():
                self.sow(AUXILIARY, "logits", auxiliary)
        return classify(head, features)

    def make_backbone(self, **kwargs: Any) -> ResNet:
        """Returns the trunk, as a module of its own unless `parent` is given."""
        kwargs = {"parent": None, **kwargs}
        return make_resnet(self.backbone, self.layout, self.norm, self.remat, **kwargs)


def perturb(features: Float[Array, "B h w D"], group: int, groups: int) -> Float[Array, "B h w D"]:
    """Drops half of the channels of each image of one group; to be called inside a module."""
    dropout = nn.Dropout(PERTURBATION, broadcast_dims=(1, 2), deterministic=False)
    is_perturbed = jnp.arange(len(features)) % groups == group
    return jnp.where(is_perturbed[:, None, None, None], dropout(features), features)
