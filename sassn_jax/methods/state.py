"""What changes in training, as trees of arrays."""

from collections.abc import Mapping
from typing import Any, TypeVar, no_type_check

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from sassn_jax.data import Batch as Batch

# What a step's key is folded with for a purpose of its own. Small numbers would give the keys that
# `split` does: `jax.random.split(key, n)[i]` is `jax.random.fold_in(key, i)`.
PASTE, MIXED = 2**20, 2**20 + 1

Variables = Mapping[str, Any]
Metrics = dict[str, Float[Array, ""]]
Tree = TypeVar("Tree")


@no_type_check  # in tests, at run time: a tree of shapes or shardings has these nodes too
class NetworkState(struct.PyTreeNode):
    """A network in training.

    Attributes:
      params: what its optimizer changes.
      collections: everything else that changes: `batch_stats`, `spectral`.
      opt_state: of its optimizer.
    """

    params: Variables
    collections: Variables
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """What `apply` takes."""
        return {"params": self.params, **self.collections}

    @classmethod
    def create(
        cls, optimizer: optax.GradientTransformation, variables: Variables
    ) -> "NetworkState":
        """Returns the state of a network at step 0, from what `init` returns."""
        collections = dict(variables)
        params = collections.pop("params")
        return cls(params, collections, optimizer.init(params))

    def learn(
        self,
        player: str,
        optimizer: optax.GradientTransformation,
        loss: Float[Array, ""],
        gradients: Variables,
        collections: Variables,
    ) -> tuple["NetworkState", Metrics]:
        """Takes a step of the optimizer, or none where a number is not finite.

        The loss, the norm of the gradients in float32, and the new collections must be finite, or
        the whole network stays as it is, bit by bit, the state of its optimizer included.

        Args:
          player: the network's name, which its metrics end with.
          optimizer: of the parameters.
          loss: what the gradients are of.
          gradients: of the parameters.
          collections: those that have changed in this step.

        Returns:
          The network after the step; `gradient_norm/` and `skipped/` of the player, the latter 1
          where the step was skipped, else 0.
        """
        norm = optax.tree.norm(gradients)
        numbers = [loss, norm, *jax.tree.leaves(collections)]
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers]))
        updates, opt_state = optimizer.update(gradients, self.opt_state, self.params)
        learned = NetworkState(
            params=optax.apply_updates(self.params, updates),
            collections={**self.collections, **collections},
            opt_state=opt_state,
        )
        skipped = 1 - finite.astype(jnp.float32)
        metrics = {f"gradient_norm/{player}": norm, f"skipped/{player}": skipped}
        return unless(~finite, learned, self), metrics


def unless(skipped: Bool[Array, ""], new: Tree, old: Tree) -> Tree:
    """Returns `new`, or `old` where an update was skipped; both are trees of the same arrays."""
    # A conditional branch would need memory of its own for what it returns.
    return jax.tree.map(lambda x, y: jnp.where(skipped, y, x), new, old)


@no_type_check  # as above
class TrainState(struct.PyTreeNode):
    """All that changes in training, as one tree.

    Attributes:
      step: the number of steps taken, an int32 scalar.
      rng: the key of the run.
      generator: the segmentation network.
      discriminator: None for methods without one.
      classifier: a network for the classes of a whole image; None for methods without one.
      teacher: variables that follow a network's by an exponential moving average; None for methods
        without them.
    """

    step: jax.Array
    rng: jax.Array
    generator: NetworkState
    discriminator: NetworkState | None = None
    classifier: NetworkState | None = None
    teacher: Variables | None = None

    @property
    def step_rng(self) -> jax.Array:
        """The key of the next step."""
        return jax.random.fold_in(self.rng, self.step)


def without_optimizers(state: TrainState) -> TrainState:
    """Returns the state without the states of the optimizers, which predictions do not need."""
    networks = {
        name: network.replace(opt_state=())
        for name, network in vars(state).items()
        if isinstance(network, NetworkState)
    }
    return state.replace(**networks)
