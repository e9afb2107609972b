"""The fully convolutional discriminator."""

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.models.layers import BiasedConv, widened
from sassn_jax.models.spectral_norm import SpectralNorm

WIDTHS = (64, 128, 256, 512, 1)
MINIMUM_SIZE = 2 ** len(WIDTHS)  # pixels a side; each convolution halves the map


class Discriminator(nn.Module):
    """Distinguishes a network's class probabilities from one-hot labels (AdvSemiSeg, section 3.2).

    Attributes:
      spectral_norm: whether all five convolutions are spectrally normalized.
      dtype: of the computation, None for the input's; parameters and logits are float32.
    """

    spectral_norm: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, probabilities: Float[Array, "B H W C"]) -> Float[Array, "B h w 1"]:
        """Returns logits at 1/32 of the input's size; positive ones mean labels.

        Args:
          probabilities: of the classes, or one-hot labels; at least `MINIMUM_SIZE` pixels a side.
        """
        x = probabilities.astype(self.dtype or probabilities.dtype)
        for i, width in enumerate(WIDTHS):
            x = BiasedConv(
                width,
                4,
                stride=2,
                padding=1,
                kernel_norm=SpectralNorm(parent=None) if self.spectral_norm else None,
                name=f"conv{i + 1}",
            )(x)
            if i + 1 < len(WIDTHS):
                x = nn.leaky_relu(x, 0.2)
        return widened(x)
