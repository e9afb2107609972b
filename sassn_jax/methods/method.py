"""What the training loop knows of a method."""

import abc
from typing import TYPE_CHECKING, ClassVar

import jax
from jaxtyping import Array, Float

from sassn_jax.config import Config, Settings
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables


class Method(abc.ABC):
    """A way to learn from `{"labeled": {"image", "label"}, "unlabeled": {"image", "label"}}`.

    Images are normalized float32 `[B, H, W, 3]`, labels int32 `[B, H, W]`. The labels of
    unlabelled images serve metrics alone.

    A method is a frozen dataclass. The defaults suit a method that trains a single network, its
    field `generator`, from labelled images. Other methods override them.

    Attributes:
      SETTINGS: the types of its own groups of fields in the configuration.
      generator: the segmentation network in training.
    """

    SETTINGS: ClassVar[tuple[type[Settings], ...]] = ()
    if TYPE_CHECKING:  # a field, or a property where the network belongs to a part of the method

        @property
        def generator(self) -> Segmenter: ...  # noqa: D102

    @classmethod
    @abc.abstractmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Method":
        """Builds the method, its networks and optimizers included.

        Args:
          config: of the run.
          num_classes: of the dataset.
          ignore_label: pixels that take no part in losses.
        """

    @property
    def unlabeled_from(self) -> int | None:
        """The first step that takes unlabelled images, None for a method that takes none."""
        return None

    @property
    def start_field(self) -> str:
        """The name of the field that sets `unlabeled_from`, where one does."""
        return "loss.semi_start"

    @property
    def takes_valid(self) -> bool:
        """Whether unlabelled images come with `valid`, bool `[B, H, W]`.

        It is False where a crop is larger than its image and was filled.
        """
        return False

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0, for batches like this one."""
        return self.generator.init_state(rng, batch)

    @abc.abstractmethod
    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Learns from a batch. It is pure: the training loop compiles it."""

    def own_learning_rates(self, step: int) -> dict[str, float]:
        """Returns the learning rates after `step` steps of networks other than G and D, by name."""
        return {}

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns what `predict` takes of a state, and what an export keeps."""
        return state.generator.variables

    def predict(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """Returns class probabilities at the size of the images, with the network in evaluation."""
        return jax.nn.softmax(self.generator.logits(variables, images))

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"] | None:
        """Returns D's confidence that these are labels, None for a method without D."""
        return None
