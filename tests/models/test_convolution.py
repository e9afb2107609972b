"""The convolution in all its forms against XLA's own and PyTorch's, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AbstractDevice, AbstractMesh, Mesh, NamedSharding, PartitionSpec

from sassn_jax.models.convolution import conv2d

# Input [B, H, W, C], outputs, size of the kernel, stride, dilation, padding; one form a paragraph.
CASES = {
    "1x1": ((2, 5, 8, 6), 4, 1, 1, 1, 0),
    "1x1_strided": ((1, 7, 10, 6), 4, 1, 2, 1, 0),
    "1x1_strided_and_padded": ((1, 6, 9, 3), 4, 1, 3, 1, 2),
    # Classifiers: the kernel's area times the outputs is at most the inputs.
    "head": ((1, 13, 9, 64), 5, 3, 1, 2, 2),
    "head_dilated_beyond_the_map": ((2, 7, 5, 64), 5, 3, 1, 12, 12),
    "discriminator_last": ((2, 11, 15, 64), 1, 4, 2, 1, 1),
    # Many channels: gradients of their own.
    "3x3": ((2, 9, 7, 128), 20, 3, 1, 1, 1),
    "3x3_dilated": ((1, 12, 9, 128), 20, 3, 1, 4, 4),
    "3x3_strided": ((2, 9, 8, 128), 20, 3, 2, 1, 1),
    "3x3_unpadded": ((1, 7, 6, 128), 20, 3, 1, 2, 0),
    "3x3_padded_beyond_the_kernel": ((1, 4, 5, 128), 20, 3, 1, 1, 4),
    "4x4_strided": ((2, 11, 14, 128), 24, 4, 2, 1, 1),
    "4x4_at_stride_1": ((1, 6, 9, 128), 24, 4, 1, 1, 1),
    # Few channels: XLA's own.
    "stem": ((1, 21, 16, 3), 8, 7, 2, 1, 3),
    "narrow": ((2, 9, 7, 16), 12, 3, 1, 2, 2),
}


def arrays(shape, features, size, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    kernel = rng.normal(size=(size, size, shape[-1], features)) / np.sqrt(size**2 * shape[-1])
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def xla_convolution(x, kernel, stride, dilation, padding):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def with_gradients(function, x, kernel):
    """The value, and the gradients for x and kernel of a sum that weights every output anew."""

    @jax.jit
    def run(x, kernel):
        out, vjp = jax.vjp(function, x, kernel)
        weights = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
        return out, *vjp(weights.astype(out.dtype))

    return run(x, kernel)


def assert_close(actual, expected, tolerance):
    """Compares with the largest expected value."""
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("case", CASES)
def test_matches_xla(case):
    shape, features, size, stride, dilation, padding = CASES[case]
    x, kernel = arrays(shape, features, size)

    def ours(x, kernel):
        return conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding)

    def expected(x, kernel):
        return xla_convolution(x, kernel, stride, dilation, padding)

    assert_close(with_gradients(ours, x, kernel), with_gradients(expected, x, kernel), 2e-6)


@pytest.mark.parametrize("case", CASES)
def test_matches_pytorch(case):
    torch = pytest.importorskip("torch")
    shape, features, size, stride, dilation, padding = CASES[case]
    x, kernel = arrays(shape, features, size)
    actual = with_gradients(
        lambda x, kernel: conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding),
        x,
        kernel,
    )
    images = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_()
    weight = torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1).requires_grad_()
    out = torch.nn.functional.conv2d(
        images, weight, stride=stride, dilation=dilation, padding=padding
    )
    out = out.permute(0, 2, 3, 1)
    weights = torch.cos(torch.arange(out.numel(), dtype=torch.float32)).reshape(out.shape)
    d_images, d_weight = torch.autograd.grad(out, (images, weight), weights)
    expected = (out.detach(), d_images.permute(0, 2, 3, 1), d_weight.permute(2, 3, 1, 0))
    assert_close(actual, [np.asarray(y) for y in expected], 2e-6)


@pytest.mark.usefixtures("strict_dtypes")
@pytest.mark.parametrize("case", ["1x1", "head", "3x3_dilated", "4x4_strided", "narrow"])
def test_bfloat16_loses_only_what_its_outputs_cannot_hold(case):
    shape, features, size, stride, dilation, padding = CASES[case]
    x, kernel = arrays(shape, features, size, jnp.bfloat16)

    def ours(x, kernel):
        return conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding)

    actual = with_gradients(ours, x, kernel)
    assert {y.dtype for y in actual} == {jnp.dtype(jnp.bfloat16)}
    in_float32 = (x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert_close(actual, with_gradients(ours, *in_float32), 1e-2)


@pytest.mark.parametrize("case", ["head", "3x3_dilated", "4x4_strided"])
def test_second_derivative_matches_xla(case):
    shape, features, size, stride, dilation, padding = CASES[case]
    x, kernel = arrays(shape, features, size)

    def ours(x, kernel):
        return conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding)

    def expected(x, kernel):
        return xla_convolution(x, kernel, stride, dilation, padding)

    def penalty(function):
        """A gradient penalty: the square of a gradient, to be differentiated again."""

        def value(x, kernel):
            gradients = jax.grad(lambda *args: jnp.sum(function(*args) ** 2), (0, 1))(x, kernel)
            return sum(jnp.sum(gradient**2) for gradient in gradients)

        return jax.jit(jax.grad(value, (0, 1)))

    assert_close(penalty(ours)(x, kernel), penalty(expected)(x, kernel), 1e-5)


@pytest.mark.parametrize("case", ["1x1", "head", "3x3_dilated"])
def test_other_backends_get_a_plain_convolution(case, monkeypatch):
    shape, features, size, stride, dilation, padding = CASES[case]
    x, kernel = arrays(shape, features, size)

    def operations():
        def ours(x, kernel):
            return conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding)

        return [equation.primitive.name for equation in jax.make_jaxpr(ours)(x, kernel).eqns]

    assert operations() != ["conv_general_dilated"]
    gpu = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", platform="gpu", num_cores=None)
    with jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=gpu)):
        assert operations() == ["conv_general_dilated"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert operations() == ["conv_general_dilated"]
    with jax.default_device(jax.devices("cpu")[0]):  # beside a GPU
        assert operations() != ["conv_general_dilated"]


@pytest.mark.parametrize("case", ["1x1", "head", "3x3_dilated"])
def test_batch_may_be_sharded_over_devices(case):
    shape, features, size, stride, dilation, padding = CASES[case]
    devices = jax.devices()
    x, kernel = arrays((2 * len(devices), *shape[1:]), features, size)

    def ours(x, kernel):
        return conv2d(x, kernel, stride=stride, dilation=dilation, padding=padding)

    expected = with_gradients(ours, x, kernel)
    mesh = Mesh(np.array(devices), ("data",))
    x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    kernel = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
    assert_close(with_gradients(ours, x, kernel), expected, 2e-6)


def test_gradient_of_a_kernel_takes_memory_for_few_kernels():
    """Not for one for each of its taps, as a sum of padded taps would in a step of an optimizer."""
    x, d_out, kernel = (
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((2, 8, 8, 128), (2, 8, 8, 256), (7, 7, 128, 256))
    )

    def step(x, d_out, kernel, momentum):
        (gradient,) = jax.vjp(lambda kernel: conv2d(x, kernel, padding=3), kernel)[1](d_out)
        momentum = 0.9 * momentum + gradient
        return kernel - momentum, momentum, jnp.sum(jnp.square(gradient))

    compiled = jax.jit(step, donate_argnums=(2, 3)).lower(x, d_out, kernel, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 4 * kernel.size
