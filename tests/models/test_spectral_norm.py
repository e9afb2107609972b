"""Spectral normalization against a singular value decomposition and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.spectral_norm import COLLECTION, SpectralNorm, sigmas
from tests.trees import random_variables

from .test_layers import draw

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SHAPES = [(4, 4, 5, 8), (3, 3, 2, 7), (4, 4, 6, 1), (1, 1, 9, 4)]
module = SpectralNorm()


def matrix(kernel):
    """A row for each channel of the output, as PyTorch sees a convolution."""
    return np.moveaxis(np.asarray(kernel, np.float64), -1, 0).reshape(kernel.shape[-1], -1)


def largest_singular_value(kernel):
    return np.linalg.svd(matrix(kernel), compute_uv=False)[0]


def unit(x):
    return x / np.linalg.norm(x)


def random_vectors(kernel, seed=1):
    rng = np.random.default_rng(seed)
    u, v = (jnp.asarray(unit(rng.normal(size=n)), "float32") for n in matrix(kernel).shape)
    return {COLLECTION: {"u": u, "v": v}}


@jax.jit
def normalize(state, kernel):
    return module.apply(state, kernel)


@jax.jit
def iterate(state, kernel):
    return module.apply(state, kernel, mutable=[COLLECTION])


@pytest.mark.parametrize("shape", SHAPES)
def test_converges_to_the_largest_singular_value(shape):
    kernel = draw(*shape)
    state = random_vectors(kernel)
    for _ in range(100):
        normalized, state = iterate(state, kernel)
    np.testing.assert_allclose(
        normalized, kernel / largest_singular_value(kernel), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(largest_singular_value(np.asarray(normalized)), 1, rtol=1e-4)
    u, v = state[COLLECTION]["u"], state[COLLECTION]["v"]
    left, _, right = np.linalg.svd(matrix(kernel), full_matrices=False)
    np.testing.assert_allclose(abs(left[:, 0] @ u), 1, rtol=1e-4)
    np.testing.assert_allclose(abs(right[0] @ v), 1, rtol=1e-4)


def test_one_call_is_one_power_iteration():
    kernel = draw(4, 4, 5, 8)
    state = random_vectors(kernel)
    normalized, new = iterate(state, kernel)
    v = unit(matrix(kernel).T @ state[COLLECTION]["u"])
    u = unit(matrix(kernel) @ v)
    np.testing.assert_allclose(new[COLLECTION]["v"], v, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new[COLLECTION]["u"], u, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(normalized, kernel / (u @ matrix(kernel) @ v), rtol=1e-4)


def test_without_mutable_the_stored_vectors_are_used():
    kernel = draw(4, 4, 5, 8)
    state = random_vectors(kernel)
    u, v = state[COLLECTION]["u"], state[COLLECTION]["v"]
    normalized = normalize(state, kernel)
    np.testing.assert_allclose(normalized, kernel / (u @ matrix(kernel) @ v), rtol=1e-3)
    empty_handed, untouched = module.apply(state, jnp.asarray(kernel), mutable=[])
    np.testing.assert_allclose(empty_handed, normalized, rtol=1e-6)
    assert not untouched


@pytest.mark.parametrize("shape", SHAPES)
def test_starts_near_the_singular_value(shape):
    """Before its first step D is already a normalized function."""
    kernel = draw(*shape)
    state = jax.jit(module.init)(jax.random.key(0), kernel)
    np.testing.assert_allclose(np.linalg.norm(state[COLLECTION]["u"]), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(state[COLLECTION]["v"]), 1, rtol=1e-5)
    normalized = normalize(state, kernel)
    np.testing.assert_allclose(largest_singular_value(np.asarray(normalized)), 1, rtol=0.05)


@pytest.mark.parametrize("mutable", [False, True])
def test_gradient_flows_through_sigma_but_not_through_u_and_v(mutable):
    kernel = draw(3, 3, 2, 4)
    weights = draw(3, 3, 2, 4, seed=5).astype(np.float64)
    state = random_vectors(kernel)
    u, v = (np.asarray(state[COLLECTION][name], np.float64) for name in ("u", "v"))
    if mutable:
        v = unit(matrix(kernel).T @ u)
        u = unit(matrix(kernel) @ v)

    def loss(kernel):
        if mutable:
            normalized, _ = module.apply(state, kernel, mutable=[COLLECTION])
        else:
            normalized = module.apply(state, kernel)
        return jnp.sum(normalized * weights.astype(np.float32))

    def with_fixed_vectors(kernel):
        return np.sum(kernel * weights) / (u @ matrix(kernel) @ v)

    step = 1e-6
    expected = np.zeros(kernel.shape)
    for index in np.ndindex(kernel.shape):
        shift = np.zeros(kernel.shape)
        shift[index] = step
        ahead, behind = (with_fixed_vectors(kernel + sign * shift) for sign in (1, -1))
        expected[index] = (ahead - behind) / (2 * step)
    gradient = jax.jit(jax.grad(loss))(kernel)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_sigmas_of_a_discriminator():
    """Those that its layers divide by, under their names."""
    discriminator = Discriminator(spectral_norm=True)
    maps = np.zeros((1, 32, 32, 3), np.float32)
    variables = random_variables(discriminator, maps)
    estimates = sigmas(variables["params"], variables[COLLECTION])
    assert set(estimates) == {f"conv{i}" for i in range(1, 6)}
    for name, estimate in estimates.items():
        vectors = variables[COLLECTION][name]["kernel_norm"]
        expected = vectors["u"] @ matrix(variables["params"][name]["kernel"]) @ vectors["v"]
        np.testing.assert_allclose(estimate, expected, rtol=1e-3, atol=1e-5)


def test_sigmas_of_a_discriminator_without_it():
    assert sigmas({"conv1": {"kernel": jnp.zeros((1, 1, 1, 1))}}, {}) == {}


TOO_SMALL = [0, 1e-20, 1e-15]  # times a kernel; the squares of the second are 0 in float32


@pytest.mark.parametrize("start", ["initial", "learned"])
@pytest.mark.parametrize("scale", TOO_SMALL)
def test_a_kernel_too_small_to_normalize_stays_as_it_is(scale, start):
    """PyTorch makes it NaN or enormous, and loses u (its issue 20192)."""
    kernel = np.float32(scale) * draw(3, 3, 2, 7)
    weights = draw(3, 3, 2, 7, seed=5)
    state = jax.jit(module.init)(jax.random.key(0), kernel)
    if start == "learned":
        state = random_vectors(kernel)
    for _ in range(3):
        normalized, state = iterate(state, kernel)
        np.testing.assert_array_equal(normalized, kernel)
        np.testing.assert_array_equal(normalize(state, kernel), kernel)
        np.testing.assert_allclose(np.linalg.norm(state[COLLECTION]["u"]), 1, rtol=1e-5)

    def loss(kernel):
        return jnp.sum(module.apply(state, kernel) * weights)

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(kernel), weights)


@pytest.mark.parametrize("scale", TOO_SMALL)
def test_converges_once_the_kernel_is_large_enough(scale):
    kernel = draw(3, 3, 2, 7)
    small = np.float32(scale) * kernel
    state = jax.jit(module.init)(jax.random.key(0), small)
    for _ in range(3):
        _, state = iterate(state, small)
    for _ in range(100):
        normalized, state = iterate(state, kernel)
    np.testing.assert_allclose(
        normalized, kernel / largest_singular_value(kernel), rtol=1e-4, atol=1e-6
    )


def test_vectors_that_a_kernel_has_left_find_its_new_direction():
    """All of the kernel moves to another channel of the output, where u is 0."""
    kernel = draw(1, 1, 9, 2)
    first, second = (kernel * np.eye(2, dtype=np.float32)[i] for i in (0, 1))
    state = jax.jit(module.init)(jax.random.key(0), first)
    for _ in range(5):
        normalized, state = iterate(state, second)
    np.testing.assert_allclose(normalized, second / np.linalg.norm(second), rtol=1e-5)


@pytest.mark.usefixtures("fast_compile")
def test_a_discriminator_with_a_layer_of_zeros_learns():
    discriminator = Discriminator(spectral_norm=True)
    maps = jnp.asarray(draw(2, 32, 32, 3))
    variables = random_variables(discriminator, maps)
    params = dict(variables["params"])
    params["conv3"] = {**params["conv3"], "kernel": jnp.zeros_like(params["conv3"]["kernel"])}
    spectral = variables[COLLECTION]

    @jax.jit
    def step(params, spectral):
        def loss(params):
            logits, new = discriminator.apply(
                {"params": params, COLLECTION: spectral}, maps, mutable=[COLLECTION]
            )
            return jnp.mean(jnp.square(logits - 1)), new[COLLECTION]

        gradients, spectral = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda x, y: x - 0.1 * y, params, gradients), spectral

    for _ in range(3):
        params, spectral = step(params, spectral)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((params, spectral)))
    assert np.any(params["conv3"]["kernel"])


def test_vectors_keep_their_length_where_a_norm_is_too_large_for_float32():
    """A kernel that has grown so far is useless, but the next one must still have a direction."""
    kernel = 1e25 * draw(4, 4, 5, 8)
    state = random_vectors(kernel)
    _, new = iterate(state, kernel)
    for name in ("u", "v"):
        np.testing.assert_array_equal(new[COLLECTION][name], state[COLLECTION][name])
