"""Spectral normalization of a kernel: equation (11) of the paper."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax import traverse_util
from jaxtyping import Array, Float

COLLECTION = "spectral"


def _normalize(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def _matrix(kernel: Float[Array, "kh kw C D"]) -> Float[Array, "D K"]:
    return rearrange(kernel, "kh kw c d -> d (kh kw c)")


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value (Miyato et al. 2018).

    The kernel is seen as a matrix of `D` rows. `u [D]` and `v [kh*kw*C]`, the estimates of its first
    singular vectors, live in the collection `spectral`. Where that collection is mutable, one power
    iteration improves them before use; where it is not, the stored ones are used, so that a
    discriminator that is not being trained is a fixed function. Gradients flow through sigma, not
    through `u` and `v`. This equals `torch.nn.utils.spectral_norm`.
    """

    @nn.compact
    def __call__(self, kernel: Float[Array, "kh kw C D"]) -> Float[Array, "kh kw C D"]:
        """Returns `kernel / sigma`."""
        matrix = _matrix(kernel)

        def random_unit(size: int) -> Float[Array, " size"]:
            return _normalize(jax.random.normal(self.make_rng("params"), (size,)))

        u = self.variable(COLLECTION, "u", random_unit, matrix.shape[0])
        v = self.variable(COLLECTION, "v", random_unit, matrix.shape[1])
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            constant = jax.lax.stop_gradient(matrix)
            v.value = _normalize(constant.T @ u.value)
            u.value = _normalize(constant @ v.value)
        return kernel / jnp.einsum("d,dk,k->", u.value, matrix, v.value)


def sigmas(params: dict, spectral: dict) -> dict[str, Float[Array, ""]]:
    """Returns each normalized layer's sigma by the layer's name.

    Args:
      params: of a network with `SpectralNorm` in its convolutions.
      spectral: its collection of that name.
    """
    kernels = {path[:-1]: x for path, x in traverse_util.flatten_dict(params).items()
               if path[-1] == "kernel"}
    vectors = traverse_util.flatten_dict(spectral)
    return {
        "/".join(path[:-2]): jnp.einsum(
            "d,dk,k->", u, _matrix(kernels[path[:-2]]), vectors[(*path[:-1], "v")]
        )
        for path, u in vectors.items()
        if path[-1] == "u"
    }
