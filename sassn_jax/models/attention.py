"""Position self-attention: equations (6) and (7) of the paper."""

import flax.linen as nn
from einops import rearrange
from jaxtyping import Array, Float

from pallas_kernels.position_attention import IMPLEMENTATIONS, position_attention
from sassn_jax.errors import check_name
from sassn_jax.models.layers import BiasedConv


class PositionAttention(nn.Module):
    """Adds to each position a weighted sum over all positions (DANet, section 3.2).

    `O_j = alpha * sum_i softmax_i(q_j . k_i) v_i + X_j`, with no `1 / sqrt(d)`. The paper exchanges
    the names: its Q are the keys here, its K the queries. `alpha` starts at 0, so the network
    starts as the one without attention.

    Attributes:
      qk_reduction: queries and keys have this many times fewer channels than the input.
      implementation: of `position_attention`; None lets it choose.

    Raises:
      InputError: for an unknown `implementation`.
    """

    qk_reduction: int = 8
    implementation: str | None = None

    def __post_init__(self) -> None:
        check_implementation("implementation", self.implementation)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Returns features of the same shape."""
        channels = x.shape[-1]
        reduced = max(1, channels // self.qk_reduction)

        def project(name: str, features: int) -> Float[Array, "B N D"]:
            return rearrange(BiasedConv(features, 1, name=name)(x), "b h w d -> b (h w) d")

        attended = position_attention(
            project("query", reduced),
            project("key", reduced),
            project("value", channels),
            implementation=self.implementation,
        )
        alpha = self.param("alpha", nn.initializers.zeros, ())
        attended = rearrange(attended, "b (h w) c -> b h w c", h=x.shape[1])
        return alpha.astype(x.dtype) * attended + x


def check_implementation(field: str, value: str | None) -> None:
    """Raises `InputError` unless a field is None or names an implementation of attention."""
    if value is not None:
        check_name(field, value, IMPLEMENTATIONS, " or None")
