"""The discriminator of whole images: does a class map belong to its image?"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.models.layers import BiasedConv, widened

WIDTHS = (64, 128, 256, 512)
DROPOUT = 0.5


class ImageDiscriminator(nn.Module):
    """Distinguishes images with predictions from images with labels (s4GAN, section 3.1).

    With `train` it draws from the random stream `dropout`; dropout takes whole channels.

    Attributes:
      dtype: of the computation, None for the input's; parameters, logits and features are float32.
    """

    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        probabilities: Float[Array, "B H W C"],
        images: Float[Array, "B H W 3"],
        *,
        train: bool,
    ) -> tuple[Float[Array, " B"], Float[Array, "B D"]]:
        """Returns each image's logit, positive for labels, and the features before it.

        Args:
          probabilities: of the classes, or one-hot labels; at least 16 pixels a side.
          images: in [0, 1], see `scale_to_unit`.
          train: whether dropout is on.
        """
        x = jnp.concatenate([probabilities, images], axis=-1)
        x = x.astype(self.dtype or x.dtype)
        for i, width in enumerate(WIDTHS, start=1):
            x = nn.leaky_relu(BiasedConv(width, 4, stride=2, padding=1, name=f"conv{i}")(x), 0.2)
            if i < len(WIDTHS):
                x = nn.Dropout(DROPOUT, broadcast_dims=(1, 2), deterministic=not train)(x)
        # The published code averages over a map of fixed size, that of its crops.
        features = jnp.mean(widened(x), axis=(1, 2), keepdims=True)
        logits = BiasedConv(1, 1, name="score")(features)
        return logits[:, 0, 0, 0], features[:, 0, 0]


def scale_to_unit(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Maps the smallest value of all images to 0 and the largest to 1.

    Call it once on all images that D sees in a step. The published code scales real images and
    fakes separately, the real ones by the range of a third batch, so that D could distinguish them
    by their scale.
    """
    low, high = jnp.min(images), jnp.max(images)
    return (images - low) / jnp.where(high > low, high - low, 1)
