"""A teacher that follows its student (Tarvainen and Valpola 2017)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sassn_jax.methods.method import Variables


def moving_average(
    average: Variables, new: Variables, decay: float | Float[Array, ""]
) -> Variables:
    """Returns `decay * average + (1 - decay) * new` of every array; of integers, the new ones."""

    def follow(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return decay * old + (1 - decay) * new

    return jax.tree.map(follow, average, new)
