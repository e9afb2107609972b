"""Images of several kinds, such as labelled and unlabelled ones, in one pass of a network.

They are interleaved, so that devices that share a batch have as much of one kind as of the other:
each takes what it has, and sends no image to another. A network's `groups` keep the batch
statistics of the kinds apart.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Shaped

from sassn_jax.methods.state import Batch


def images_by_kind(batch: Batch) -> list[Float[Array, "B H W 3"]]:
    """Returns a batch's labelled images and, where it has any, its unlabelled ones."""
    return [batch[name]["image"] for name in ("labeled", "unlabeled") if name in batch]


def interleave(kinds: Sequence[Shaped[Array, "B ..."]]) -> Shaped[Array, "N ..."]:
    """Returns the first element of each kind, then the second of each, and so on."""
    return rearrange(jnp.stack(kinds, axis=1), "b k ... -> (b k) ...")


def separate(outputs: Any, kinds: int) -> list[Any]:
    """Returns a network's outputs for interleaved images by kind, in the order of `interleave`."""
    return [jax.tree.map(lambda x, kind=kind: x[kind::kinds], outputs) for kind in range(kinds)]
