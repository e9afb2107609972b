"""What changes in training, as trees of arrays."""

from collections.abc import Mapping
from typing import Any, no_type_check

import jax
import optax
from flax import struct
from jaxtyping import Array, Float

from sassn_jax.data import Batch as Batch

Variables = Mapping[str, Any]
Metrics = dict[str, Float[Array, ""]]


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

    def apply_gradients(
        self,
        optimizer: optax.GradientTransformation,
        gradients: Variables,
        collections: Variables,
    ) -> "NetworkState":
        """Returns the network after a step of its optimizer, with its new collections."""
        updates, opt_state = optimizer.update(gradients, self.opt_state, self.params)
        return NetworkState(
            params=optax.apply_updates(self.params, updates),
            collections={**self.collections, **collections},
            opt_state=opt_state,
        )


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
