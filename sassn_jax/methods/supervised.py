"""Training on the labelled images alone: equation (2) of the paper."""

import dataclasses

from sassn_jax.config import Config
from sassn_jax.methods.method import Method
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Batch, Metrics, TrainState


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """Cross entropy on labelled images.

    Attributes:
      generator: the segmentation network.
    """

    generator: Segmenter

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Supervised":
        """See `Method`."""
        return cls(Segmenter.from_config(config, num_classes, ignore_label))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates G by the gradient of the loss on labels."""
        return self.generator.take_step(self.generator.supervised_objective, state, batch)
