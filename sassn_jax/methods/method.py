"""What the training loop knows of a method: its state, where that starts, and four functions."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import optax
from flax import struct
from jaxtyping import Array, Float

from sassn_jax.data.batch import Batch
from sassn_jax.weights import Pretrained

Variables = Mapping[str, Any]
Metrics = dict[str, Float[Array, ""]]


class NetworkState(struct.PyTreeNode):
    """A network in training.

    Attributes:
      params: what its optimizer changes.
      collections: everything else that changes: `batch_stats`, `spectral`.
      opt_state: of its optimizer.
    """

    params: Any
    collections: Any
    opt_state: Any

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
        """Returns the network one step of its optimizer on, with its new collections."""
        updates, opt_state = optimizer.update(gradients, self.opt_state, self.params)
        return NetworkState(
            params=optax.apply_updates(self.params, updates),
            collections={**self.collections, **collections},
            opt_state=opt_state,
        )


class TrainState(struct.PyTreeNode):
    """All that changes in training, as one tree.

    Attributes:
      step: steps taken, an int32 scalar.
      rng: key of the run; a step that needs randomness folds `step` into it.
      generator: the `NetworkState` of the segmentation network.
      discriminator: another `NetworkState`; None for methods without one.
      classifier: that of a network for the classes of a whole image; None for methods without one.
      teacher: variables that follow a network's by an exponential moving average; None for methods
        without them.
    """

    step: Any
    rng: Any
    generator: Any
    discriminator: Any = None
    classifier: Any = None
    teacher: Any = None


@runtime_checkable
class Method(Protocol):
    """A way to learn from `{"labeled": {"image", "label"}, "unlabeled": {"image", "label"}}`.

    Images are normalized float32 `[B, H, W, 3]`, labels int32 `[B, H, W]`, 255 for ignored pixels.
    `unlabeled` is there only from `unlabeled_from` on; its labels serve the metrics alone. For a
    method that `takes_valid` it has `valid` bool `[B, H, W]` too, False where a crop is larger than
    its image and was filled.
    """

    @property
    def pretrained(self) -> Pretrained | None:
        """Weights that the segmentation network starts from."""

    @property
    def unlabeled_from(self) -> int | None:
        """First step that takes unlabelled images, None for a method that takes none."""

    @property
    def takes_valid(self) -> bool:
        """Whether unlabelled images come with their `valid` pixels, which others are spared."""

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0, for batches like this one."""

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Learns from a batch; pure, for the loop to compile."""

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns what `predict` takes, and an export keeps, of a state."""

    def predict(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """Returns class probabilities, with the network as it is in evaluation."""

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"] | None:
        """Returns D's confidence that these are labels, None for a method without D."""
