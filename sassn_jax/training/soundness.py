"""Whether a state is one to go on from."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sassn_jax import methods
from sassn_jax.methods import TrainState

PLAYERS = ("generator", "discriminator", "classifier")
LARGE = 1e3  # no parameter of a network that learns comes near it
GUESSES = 10.0  # times the cross entropy of guessing all classes alike; one that learns is below it


def fault_of(state: TrainState, values: Mapping[str, float], num_classes: int) -> str:
    """Says why a run is not healthy; returns nothing if it is.

    A network can be ruined by its last update while all numbers are finite, and all losses, which
    were computed before it, are as usual. Its parameters tell.

    Args:
      state: to be saved.
      values: that were logged last.
      num_classes: of the dataset.
    """
    for player, largest in largest_parameters(state).items():
        if not largest < LARGE:
            return f"the largest parameter of the {player} is {largest:.3g}"
    loss = values.get("loss/cross_entropy", 0.0)
    if not loss < GUESSES * max(1.0, math.log(num_classes)):
        return f"loss/cross_entropy is {loss:.3g}"
    return ""


def largest_parameters(state: TrainState) -> dict[str, float]:
    """Returns the largest absolute value of each player's parameters, NaN if any is."""
    networks = {name: getattr(state, name) for name in PLAYERS}
    return {
        name: float(_largest(network.params))
        for name, network in networks.items()
        if network is not None
    }


@jax.jit
def _largest(params: methods.Variables) -> jax.Array:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(params)]))
