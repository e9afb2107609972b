"""Convolution that is also fast on a CPU.

XLA's CPU backend is fast at matrix products, fair at convolutions and slow at their gradients: that
of a dilated 3x3 kernel of 512 channels takes three times as long as the nine matrix products that
do the same work. So on a CPU the gradients of most convolutions, and some convolutions, are written
as matrix products. Other backends use `lax.conv_general_dilated` alone.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from pallas_kernels.target import target_platform

# Of the input. With fewer channels, XLA's own kernel gradient was measured to be as fast.
_MIN_CHANNELS = 128


def conv2d(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "K K C D"],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> Float[Array, "B h w D"]:
    """Convolves `x` with `kernel`, with `padding` pixels of zeros on each side.

    On a CPU it can be differentiated any number of times in reverse mode, but not in forward mode.
    There it computes narrower dtypes in float32, as bfloat16 is no faster.

    Args:
      x: feature maps.
      kernel: square; channels of the input, then of the output.
      stride: of the output grid, pixels of the input.
      dilation: distance between the taps of the kernel, pixels.
      padding: pixels.

    Returns:
      Feature maps of `(H + 2 * padding - dilation * (K - 1) - 1) // stride + 1` rows.
    """
    if target_platform() != "cpu":
        return _convolve(x, kernel, stride, dilation, padding)
    dtype = x.dtype
    if jnp.finfo(dtype).bits < 32:
        x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    size, _, channels, features = kernel.shape
    if size == 1:
        convolve = _multiply
    elif size**2 * features <= channels:
        convolve = _multiply_and_shift
    elif channels >= _MIN_CHANNELS:
        convolve = _convolve_with_matmul_gradients
    else:
        convolve = _convolve
    return convolve(x, kernel, stride, dilation, padding).astype(dtype)


def _convolve(x: Array, kernel: Array, stride: int, dilation: int, padding: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_with_matmul_gradients(
    x: Array, kernel: Array, stride: int, dilation: int, padding: int
) -> Array:
    return _convolve(x, kernel, stride, dilation, padding)


def _forward(
    x: Array, kernel: Array, stride: int, dilation: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride, dilation, padding), (x, kernel)


def _backward(
    stride: int, dilation: int, padding: int, inputs: tuple[Array, Array], d_out: Array
) -> tuple[Array, Array]:
    x, kernel = inputs
    if stride == 1:
        # The transposed convolution as a forward one.
        flipped = rearrange(kernel[::-1, ::-1], "i j c d -> i j d c")
        border = dilation * (len(kernel) - 1) - padding
        d_x = _convolve(d_out, flipped, 1, dilation, border)
    else:
        (d_x,) = jax.vjp(lambda x: _convolve(x, kernel, stride, dilation, padding), x)[1](d_out)
    # A matrix product for each tap. Differentiating a sum over taps would instead pad each tap to
    # the size of the kernel: 20 GB for FCN's 7x7 taps of 512 to 4096 channels.
    flat = rearrange(d_out, "b h w d -> (b h w) d")
    taps = [
        jnp.einsum("nc,nd->cd", rearrange(shifted, "b h w c -> (b h w) c"), flat)
        for shifted in _shifts(x, len(kernel), stride, dilation, padding)
    ]
    return d_x, rearrange(taps, "(i j) c d -> i j c d", i=len(kernel))


_convolve_with_matmul_gradients.defvjp(_forward, _backward)


def _multiply(x: Array, kernel: Array, stride: int, dilation: int, padding: int) -> Array:
    """Convolves with a kernel of one tap, by a matrix product."""
    (seen,) = _shifts(x, 1, stride, dilation, padding)
    return _matmul(seen, rearrange(kernel, "1 1 c d -> c d"))


def _multiply_and_shift(x: Array, kernel: Array, stride: int, dilation: int, padding: int) -> Array:
    """Convolves to few channels, by one matrix product whose results are shifted."""
    features = kernel.shape[-1]
    products = _matmul(x, rearrange(kernel, "i j c d -> c (i j d)"))
    shifted = _shifts(products, len(kernel), stride, dilation, padding)
    taps = (x[..., t * features : (t + 1) * features] for t, x in enumerate(shifted))
    return functools.reduce(jnp.add, taps)


def _shifts(x: Array, size: int, stride: int, dilation: int, padding: int) -> Iterator[Array]:
    """Yields the part of `x` that each tap of a kernel sees, `[B, h, w, C]`, in the taps' order."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    reach = dilation * (size - 1)
    # Ends at the last pixel that is taken. For symbolic sizes the result's shape is then the same
    # expression as a convolution's.
    rows, columns = ((side - reach - 1) // stride * stride + 1 for side in x.shape[1:3])
    for top in range(0, reach + 1, dilation):
        for left in range(0, reach + 1, dilation):
            yield x[:, top : top + rows : stride, left : left + columns : stride]


def _matmul(x: Array, matrix: Array) -> Array:
    # XLA's CPU backend does not use its fast matrix product for arrays of four axes.
    batch, height, width, _ = x.shape
    y = rearrange(x, "b h w c -> (b h w) c") @ matrix
    return rearrange(y, "(b h w) d -> b h w d", b=batch, h=height, w=width)
