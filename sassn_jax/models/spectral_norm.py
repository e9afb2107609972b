"""Spectral normalization of a kernel: equation (11) of the paper."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax import traverse_util
from jaxtyping import Array, Float

COLLECTION = "spectral"
# G uses the stored vectors before D's first step; with random vectors sigma would be random.
INITIAL_ITERATIONS = 15
EPSILON = 1e-12  # as in PyTorch; a shorter vector has no direction


def _normalize(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)


def _matrix(kernel: Float[Array, "kh kw C D"]) -> Float[Array, "D K"]:
    return rearrange(kernel, "kh kw c d -> d (kh kw c)")


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value (Miyato et al. 2018).

    The kernel is taken as a matrix of `D` rows. The collection `spectral` holds `u [D]` and
    `v [kh*kw*C]`, the estimates of its first singular vectors. While the collection is mutable, one
    power iteration improves them before use. Otherwise the stored vectors are used, so that a
    discriminator outside its own training is a fixed function. Gradients flow through sigma, not
    through `u` and `v`. This equals `torch.nn.utils.spectral_norm`, except for a sigma below
    `EPSILON`, as of a kernel of zeros: here the kernel, `u` and `v` then keep their values, while
    PyTorch makes the kernel NaN and `u` and `v` 0 from then on.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "kh kw C D"]) -> Float[Array, "kh kw C D"]:
        """Returns `kernel / sigma`, or the kernel itself for a sigma below `EPSILON`."""
        matrix = _matrix(kernel)
        constant = jax.lax.stop_gradient(matrix)
        initial = jnp.zeros(matrix.shape[0]), jnp.zeros(matrix.shape[1])
        if self.is_initializing():
            random = jax.random.normal(self.make_rng("params"), matrix.shape[:1])
            initial = _power_iteration(constant, _normalize(random), initial[1], INITIAL_ITERATIONS)
        u = self.variable(COLLECTION, "u", lambda: initial[0])
        v = self.variable(COLLECTION, "v", lambda: initial[1])
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            u.value, v.value = _power_iteration(constant, u.value, v.value, 1)
        sigma = jnp.einsum("d,dk,k->", u.value, matrix, v.value)
        return kernel / jnp.where(jnp.abs(sigma) < EPSILON, 1, sigma)


def _power_iteration(
    matrix: Float[Array, "D K"], u: Float[Array, " D"], v: Float[Array, " K"], iterations: int
) -> tuple[Float[Array, " D"], Float[Array, " K"]]:
    """Returns better estimates of the first left and right singular vectors."""

    def iterate(_: Any, vectors: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        u, v = vectors
        v = _direction(matrix.T @ u, v)
        return _direction(matrix @ v, u), v

    return jax.lax.fori_loop(0, iterations, iterate, (u, v))


def _direction(x: Float[Array, " N"], previous: Float[Array, " N"]) -> Float[Array, " N"]:
    """Returns the unit vector along `x`, or the previous one.

    The latter for an `x` below `EPSILON`, and where the norm of `x` is too large for float32.
    """
    norm = jnp.linalg.norm(x)
    return jnp.where((norm < EPSILON) | jnp.isinf(norm), previous, _normalize(x))


def sigmas(params: Mapping, spectral: Mapping) -> dict[str, Float[Array, ""]]:
    """Returns sigma of each layer with `SpectralNorm`, by the layer's name.

    Args:
      params: of a network.
      spectral: the network's collection of that name.
    """
    kernels = {
        path[:-1]: x
        for path, x in traverse_util.flatten_dict(params).items()
        if path[-1] == "kernel"
    }
    vectors = traverse_util.flatten_dict(spectral)
    return {
        "/".join(path[:-2]): jnp.einsum(
            "d,dk,k->", u, _matrix(kernels[path[:-2]]), vectors[(*path[:-1], "v")]
        )
        for path, u in vectors.items()
        if path[-1] == "u"
    }
