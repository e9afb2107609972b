"""The labelled and the unlabelled half of a batch in one pass of a network.

They are interleaved, so that devices that share a batch have as much of one half as of the other,
and the network's `groups` keep their batch statistics apart.
"""

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from sassn_jax.methods.state import Batch


def interleave(batch: Batch) -> tuple[Float[Array, "N H W 3"], int]:
    """Returns a batch's images, labelled and unlabelled in turn, and how many kinds (1 or 2)."""
    kinds = [batch[name]["image"] for name in ("labeled", "unlabeled") if name in batch]
    return rearrange(jnp.stack(kinds, axis=1), "b g h w c -> (b g) h w c"), len(kinds)


def separate(outputs: Any, kinds: int) -> list[Any]:
    """Returns a network's outputs for interleaved images by kind, labelled first."""
    return [jax.tree.map(lambda x, kind=kind: x[kind::kinds], outputs) for kind in range(kinds)]
