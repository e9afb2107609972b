"""The layers of all networks: convolution, normalization, pooling and resizing, all NHWC.

Layers compute in the dtype of their input; parameters and statistics are always float32.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from sassn_jax.errors import check_name
from sassn_jax.models.convolution import conv2d
from sassn_jax.resampling import (
    Side,
    interpolate,
    interpolation_matrix,
    pixels,
    points_at,
    sample_points,
)

NORMS = ("batch_frozen_affine", "frozen", "batch")

# U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for a convolution.
torch_default_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nn.Module):
    """A square convolution, padded symmetrically.

    Attributes:
      features: channels of the output.
      kernel_size: side of the kernel, pixels.
      stride: of the output grid, pixels of the input.
      dilation: distance between the taps of the kernel, pixels.
      padding: pixels of zeros on each side; None keeps the size at stride 1 (odd kernels).
      use_bias: whether to add a bias per channel.
      kernel_init: initializer of `kernel`, `[kernel_size, kernel_size, inputs, features]`.
      kernel_norm: module applied to the kernel before it is used, such as `SpectralNorm`.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    padding: int | None = None
    use_bias: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    kernel_norm: nn.Module | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        """Convolves `x`."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if self.kernel_norm is not None:
            kernel = self.kernel_norm(kernel)
        kernel = kernel.astype(x.dtype)
        padding = self.padding
        if padding is None:
            padding = self.dilation * (self.kernel_size - 1) // 2
        y = conv2d(x, kernel, stride=self.stride, dilation=self.dilation, padding=padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(x.dtype)
        return y


# A convolution with the bias and the initialization that PyTorch gives it by default.
BiasedConv = functools.partial(Conv, use_bias=True, kernel_init=torch_default_init)


class BatchNorm(nn.Module):
    """Batch normalization with separate statistics for interleaved parts of a batch.

    With `groups=2`, images 0, 2, 4, ... are normalized by their own mean and variance, and images
    1, 3, 5, ... by theirs, as in two separate passes of the network. The running statistics are
    updated with group 0 first, then with group 1. Interleaving spreads each group evenly over the
    devices that share the batch.

    Attributes:
      norm: `batch` trains scale and shift; `batch_frozen_affine` uses batch statistics with scale
        and shift fixed (AdvSemiSeg); `frozen` uses the running statistics and fixes everything.
      momentum: of the running statistics.
      epsilon: added to the variance.

    Raises:
      InputError: for an unknown `norm`.
    """

    norm: str
    momentum: float = 0.9
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_name("norm", self.norm, NORMS)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool, groups: int = 1
    ) -> Float[Array, "B H W C"]:
        """Normalizes `x`, by batch statistics with `train` unless `norm` is `frozen`."""
        features, dtype = x.shape[-1], x.dtype
        x = widened(x)
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        if self.norm != "batch":
            scale, bias = jax.lax.stop_gradient((scale, bias))
        if not train or self.norm == "frozen":
            # One multiply-add per pixel.
            multiplier = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            return (x * multiplier + (bias - running_mean.value * multiplier)).astype(dtype)

        grouped = rearrange(x, "(b g) h w c -> b g h w c", g=groups)
        mean = jnp.mean(grouped, axis=(0, 2, 3))  # [g, C]
        var = jnp.mean(jnp.square(grouped - mean[:, None, None]), axis=(0, 2, 3))
        if not self.is_initializing():
            # Torch divides by N to normalize and by N - 1 for the running variance.
            count = grouped.size // mean.size
            unbias = count / max(1, count - 1)
            for group in range(groups):
                running_mean.value = self._blend(running_mean.value, mean[group])
                running_var.value = self._blend(running_var.value, var[group] * unbias)
        multiplier = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * multiplier
        y = grouped * multiplier[:, None, None] + shift[:, None, None]
        return rearrange(y, "b g h w c -> (b g) h w c").astype(dtype)

    def _blend(self, running: jax.Array, batch: jax.Array) -> jax.Array:
        return self.momentum * running + (1 - self.momentum) * jax.lax.stop_gradient(batch)


def widened(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns `x` in float32, unless it is in float64."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def relu(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Returns `max(x, 0)`.

    Written as a selection: XLA's CPU compiler repeats a maximum at each of its uses, along whole
    chains of residual blocks, which takes 4% of a ResNet-101's training step.
    """
    return jax.lax.select(x > 0, x, jnp.zeros_like(x))


def max_pool(x: Float[Array, "B H W C"], *, ceil: bool) -> Float[Array, "B h w C"]:
    """3x3 max pooling at stride 2, padding 1.

    With `ceil` the output size is rounded up as in Caffe: 256 gives 129, without it 128; 161 gives
    81 in either case. Written as maxima of slices, rows first: the gradient of XLA's own pooling
    takes four times as long on a CPU and is not deterministic on a GPU. Equal values share their
    gradient.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        out = size // 2 + 1 if ceil else (size + 1) // 2
        padding = [(0, 0, 0)] * x.ndim
        padding[axis] = (1, 2 * out - size, 0)
        padded = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), padding)
        taps = [
            jax.lax.slice_in_dim(padded, tap, tap + 2 * out - 1, stride=2, axis=axis)
            for tap in range(3)
        ]
        x = functools.reduce(jnp.maximum, taps)
    return x


def resize_bilinear(
    x: Float[Array, "B h w C"], size: tuple[Side, Side], *, align_corners: bool = True
) -> Float[Array, "B H W C"]:
    """Bilinear resize to `size` (height, width).

    Aligned corners are AdvSemiSeg's; torchvision resizes without (`F.interpolate`).
    """

    def matrix(size_in: Side, size_out: Side) -> Float[Array, "O I"]:
        points = sample_points(size_in, size_out, aligned=align_corners)
        # Rounded to float32 whatever the images' dtype, then to that.
        return jnp.asarray(interpolation_matrix(points, size_in).astype(np.float32), x.dtype)

    return interpolate(x, matrix(x.shape[1], size[0]), matrix(x.shape[2], size[1]))


def bilinear_deconvolution(
    x: Float[Array, "B h w C"], factor: int, size: tuple[Side, Side], *, offset: int = 0
) -> Float[Array, "B H W C"]:
    """Part of a transposed convolution by a fixed bilinear kernel: FCN's and Dilation's upsampling.

    The kernel has `2 * factor` pixels a side, the stride is `factor`, and nothing is padded, so the
    whole result has `factor * (h + 1)` rows.

    Args:
      x: feature maps.
      factor: by which they grow.
      size: height and width of the part.
      offset: of the part's first row and column in the whole, pixels.
    """

    def matrix(size_in: Side, size_out: Side) -> Float[Array, "O I"]:
        outputs = offset + pixels(size_out)
        points = points_at(2 * outputs + 1 - 2 * factor, 2 * factor)
        return jnp.asarray(interpolation_matrix(points, size_in), x.dtype)

    return interpolate(x, matrix(x.shape[1], size[0]), matrix(x.shape[2], size[1]))
