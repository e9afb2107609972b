"""Convolution module, normalization, pooling and resizing against NumPy loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.layers import NORMS, BatchNorm, Conv, max_pool, resize_bilinear

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def naive_conv(x, kernel, stride, dilation, padding):
    """A pixel of the output at a time, float64, NHWC and HWIO."""
    x = np.pad(x.astype(np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    side = kernel.shape[0]
    reach = dilation * (side - 1) + 1
    height, width = ((size - reach) // stride + 1 for size in x.shape[1:3])
    out = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i, j in np.ndindex(height, width):
        top, left = i * stride, j * stride
        taps = x[:, top : top + reach : dilation, left : left + reach : dilation]
        out[:, i, j] = np.einsum("bhwc,hwcd->bd", taps, kernel)
    return out


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "padding", "pixels"),
    [(1, 1, 1, None, 0), (1, 2, 1, None, 0), (3, 2, 1, None, 1), (3, 1, 4, None, 4),
     (7, 2, 1, 3, 3), (4, 2, 1, 1, 1)],
)  # fmt: skip
def test_conv(kernel_size, stride, dilation, padding, pixels):
    x = draw(2, 9, 10, 3)
    conv = Conv(4, kernel_size, stride, dilation, padding, use_bias=True)
    kernel, bias = draw(kernel_size, kernel_size, 3, 4, seed=1), draw(4, seed=2)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    y = conv.apply({"params": params}, jnp.asarray(x))
    expected = naive_conv(x, kernel, stride, dilation, pixels) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_conv_has_a_bias_only_where_asked_for():
    shapes = jax.eval_shape(Conv(4, 3).init, jax.random.key(0), jnp.zeros((1, 5, 5, 3)))
    assert set(shapes["params"]) == {"kernel"}
    assert shapes["params"]["kernel"].shape == (3, 3, 3, 4)


def running(features):
    mean, log_var = draw(2, features, seed=3)
    return {"mean": jnp.asarray(mean), "var": jnp.exp(jnp.asarray(log_var))}


def affine(features):
    return {"scale": draw(features, seed=5), "bias": draw(features, seed=6)}


def normalized(x, mean, var, params):
    return (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]


@functools.partial(jax.jit, static_argnames=("norm", "train", "groups"))
def apply_norm(norm, params, stats, x, train=True, groups=1):
    """The output, and the running statistics after it."""
    y, new = BatchNorm(norm).apply(
        {"params": params, "batch_stats": stats},
        x,
        train=train,
        groups=groups,
        mutable=["batch_stats"],
    )
    return y, new["batch_stats"]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_batch_norm(norm, train):
    x = draw(3, 4, 5, 6) * 2 + 1
    params, stats = affine(6), running(6)
    y, new = apply_norm(norm, params, stats, x, train=train)
    x = x.astype(np.float64)
    uses_batch = train and norm != "frozen"
    mean = x.mean((0, 1, 2)) if uses_batch else stats["mean"]
    var = x.var((0, 1, 2)) if uses_batch else stats["var"]
    np.testing.assert_allclose(y, normalized(x, mean, var, params), rtol=1e-4, atol=1e-5)
    if uses_batch:
        unbiased = x.var((0, 1, 2), ddof=1)  # as PyTorch keeps it
        stats = {
            "mean": 0.9 * stats["mean"] + 0.1 * mean,
            "var": 0.9 * stats["var"] + 0.1 * unbiased,
        }
    for name, expected in stats.items():
        np.testing.assert_allclose(new[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_scale_and_bias_are_trained_in_one_mode_only(norm):
    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients(params, x):
        return jnp.sum(apply_norm(norm, params, running(4), x)[0] ** 3)

    of_params, of_x = gradients(affine(4), draw(2, 3, 3, 4))
    assert np.any(of_x)
    for leaf in jax.tree.leaves(of_params):
        assert bool(np.all(leaf != 0)) == (norm == "batch")
        assert norm == "batch" or not np.any(leaf)


def test_two_groups_are_two_passes_the_first_group_first():
    first, second = draw(2, 3, 4, 5, seed=1), 3 * draw(2, 3, 4, 5, seed=2) + 2
    apply, stats = functools.partial(apply_norm, "batch", affine(5)), running(5)
    y_first, after_first = apply(stats, first)
    y_second, after_both = apply(after_first, second)
    interleaved = np.stack([first, second], axis=1).reshape(4, 3, 4, 5)
    y, after = apply(stats, interleaved, groups=2)

    np.testing.assert_allclose(y[0::2], y_first, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[1::2], y_second, rtol=1e-5, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(after[name], after_both[name], rtol=1e-5)
    # The order shows: the later pass weighs more.
    _, after_second = apply(stats, second)
    _, reversed_order = apply(after_second, first)
    assert np.abs(after["mean"] - reversed_order["mean"]).max() > 1e-3


@pytest.mark.parametrize(
    ("size", "up", "down"),
    [(1, 1, 1), (2, 2, 1), (5, 3, 3), (6, 4, 3), (161, 81, 81), (256, 129, 128)],
)
@pytest.mark.parametrize("ceil", [True, False])
def test_max_pool_rounds_up_or_down(size, up, down, ceil):
    x = draw(1, size, 3, 1) - 5  # all negative: padding by zeros would show
    # Windows start at -1, 1, 3, ...: by Caffe's rule as long as they start inside, by the other as
    # long as they end inside or in the one pixel of padding.
    expected = up if ceil else down
    starts = [2 * i - 1 for i in range(expected)]
    assert starts[-1] < size if ceil else starts[-1] + 3 <= size + 1
    rows = [x[0, max(0, start) : start + 3, :, 0].max(0) for start in starts]
    naive = np.stack([np.stack([row[:2].max(), row[1:].max()]) for row in rows])
    y = max_pool(jnp.asarray(x), ceil=ceil)
    assert y.shape == (1, expected, 2, 1)
    np.testing.assert_array_equal(y[0, ..., 0], naive)


def naive_resize(x, size, align_corners):
    """Bilinear: the pixel's position in the input, and its four neighbours."""
    batch, height, width, channels = x.shape
    out = np.zeros((batch, *size, channels))

    def position(i, size_in, size_out):
        if align_corners:
            return i * (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0
        return min(max((i + 0.5) * size_in / size_out - 0.5, 0.0), size_in - 1)

    for i, j in np.ndindex(*size):
        row, column = position(i, height, size[0]), position(j, width, size[1])
        top, left = int(row), int(column)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        a, b = row - top, column - left
        upper = (1 - b) * x[:, top, left] + b * x[:, top, right]
        lower = (1 - b) * x[:, below, left] + b * x[:, below, right]
        out[:, i, j] = (1 - a) * upper + a * lower
    return out


@pytest.mark.parametrize(
    ("size_in", "size_out"),
    [((3, 4), (9, 13)), ((5, 7), (5, 7)), ((9, 8), (4, 3)), ((1, 1), (6, 5)), ((4, 1), (7, 3)),
     ((1, 5), (1, 9)), ((5, 6), (1, 1)), ((41, 2), (321, 2))],
)  # fmt: skip
@pytest.mark.parametrize("align_corners", [True, False])
def test_resize_bilinear(size_in, size_out, align_corners):
    x = draw(2, *size_in, 3)
    y = resize_bilinear(jnp.asarray(x), size_out, align_corners=align_corners)
    expected = naive_resize(x, size_out, align_corners)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_resize_keeps_the_four_corners():
    x = draw(1, 3, 4, 1)
    y = np.asarray(resize_bilinear(jnp.asarray(x), (10, 17)))
    np.testing.assert_allclose(y[:, ::9, ::16], x[:, ::2, ::3], rtol=1e-6)
