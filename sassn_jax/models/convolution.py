"""Convolution as a function."""

import jax
from einops import rearrange
from jaxtyping import Array, Float


def conv2d(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "kh kw C D"],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> Float[Array, "B h w D"]:
    """Convolves `x` with `kernel`, `padding` pixels of zeros on each side."""
    if kernel.shape[:2] == (1, 1) and padding == 0:
        x = x[:, ::stride, ::stride]
        batch, height, width, _ = x.shape
        y = rearrange(x, "b h w c -> (b h w) c") @ kernel[0, 0]
        return rearrange(y, "(b h w) d -> b h w d", b=batch, h=height, w=width)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
