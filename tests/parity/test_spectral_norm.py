import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.spectral_norm import SpectralNorm

OUT, IN, SIZE = 6, 3, 4


@pytest.fixture
def pair(torch):
    """A kernel with our stored vectors, and a torch convolution in the same state."""
    torch.manual_seed(0)
    conv = torch.nn.utils.spectral_norm(torch.nn.Conv2d(IN, OUT, SIZE))
    kernel = jnp.asarray(conv.weight_orig.detach().numpy().transpose(2, 3, 1, 0))
    u = jnp.asarray(conv.weight_u.numpy().copy())
    v = jnp.asarray(ours_of(conv.weight_v))
    return kernel, {"u": u, "v": v}, conv


def ours_of(v):
    return v.numpy().reshape(IN, SIZE, SIZE).transpose(1, 2, 0).reshape(-1).copy()


def kernel_of(tensor):
    return tensor.detach().numpy().transpose(2, 3, 1, 0)


@pytest.fixture
def double():
    """Float64 on both sides: in twenty steps float32's roundings outgrow any tight bound."""
    with jax.enable_x64(True):
        yield


def test_twenty_training_steps_and_evaluation(double, pair, torch):
    kernel, vectors, conv = pair
    conv.double()
    kernel, vectors = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (kernel, vectors))
    weights = np.random.default_rng(0).normal(size=kernel.shape)
    torch_weights = torch.from_numpy(weights.transpose(3, 2, 0, 1).copy())
    optimizer = torch.optim.SGD([conv.weight_orig], lr=0.05)

    @jax.jit
    def learn(kernel, vectors):
        def loss(kernel):
            normalized, state = SpectralNorm().apply(
                {"spectral": vectors}, kernel, mutable=["spectral"]
            )
            return jnp.sum(jnp.sin(normalized) * weights), (normalized, state["spectral"])

        (_, (normalized, vectors)), gradient = jax.value_and_grad(loss, has_aux=True)(kernel)
        return normalized, gradient, kernel - 0.05 * gradient, vectors

    conv.train()
    for _ in range(20):
        normalized, gradient, kernel, vectors = learn(kernel, vectors)
        optimizer.zero_grad()
        conv(torch.zeros(1, IN, SIZE, SIZE, dtype=torch.float64))
        (conv.weight.sin() * torch_weights).sum().backward()
        np.testing.assert_allclose(normalized, kernel_of(conv.weight), atol=1e-9)
        np.testing.assert_allclose(gradient, kernel_of(conv.weight_orig.grad), atol=1e-9)
        optimizer.step()
        np.testing.assert_allclose(vectors["u"], conv.weight_u, atol=1e-9)
        np.testing.assert_allclose(vectors["v"], ours_of(conv.weight_v), atol=1e-9)

    conv.eval()
    for _ in range(2):
        conv(torch.zeros(1, IN, SIZE, SIZE, dtype=torch.float64))
        evaluated = SpectralNorm().apply({"spectral": vectors}, kernel)
        np.testing.assert_allclose(evaluated, kernel_of(conv.weight), atol=1e-9)


def test_the_largest_singular_value_is_one_at_convergence(pair):
    kernel, vectors, _ = pair

    def iterate(_, vectors):
        _, state = SpectralNorm().apply({"spectral": vectors}, kernel, mutable=["spectral"])
        return state["spectral"]

    vectors = jax.lax.fori_loop(0, 300, iterate, vectors)
    normalized = np.asarray(SpectralNorm().apply({"spectral": vectors}, kernel))
    want = np.linalg.svd(np.asarray(kernel).reshape(-1, OUT), compute_uv=False)
    got = np.linalg.svd(normalized.reshape(-1, OUT), compute_uv=False)
    np.testing.assert_allclose(got, want / want[0], rtol=1e-4)
