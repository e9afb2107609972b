"""UniMatch, alone and with the adversarial method (Yang et al. 2023)."""

import dataclasses

from jaxtyping import Array, Float

from sassn_jax.config import Config
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.methods.consistency import UniMatchWeights, WeakToStrong
from sassn_jax.methods.method import Method
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables


@dataclasses.dataclass(frozen=True)
class UniMatch(Method):
    """Cross entropy on labelled images and the consistency losses; half of their sum.

    A batch without unlabelled images counts in full, as in supervised training.

    Attributes:
      generator: G.
      consistency: the losses on unlabelled images.
    """

    SETTINGS = (UniMatchWeights,)
    takes_valid = True
    generator: Segmenter
    consistency: WeakToStrong

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "UniMatch":
        """See `Method`."""
        return cls(
            Segmenter.from_config(config, num_classes, ignore_label),
            WeakToStrong.from_config(config),
        )

    @property
    def unlabeled_from(self) -> int | None:
        """See `UniMatchWeights`."""
        return self.consistency.weights.start

    @property
    def start_field(self) -> str:
        """See `Method`."""
        return "unimatch.start"

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates G by the gradient of `objective`."""
        return self.generator.take_step(self.objective, state, batch)

    def objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Returns the objective; and G's new collections and metrics."""
        objective, (collections, metrics) = self.generator.supervised_objective(
            params, state, batch
        )
        if "unlabeled" in batch:
            loss, (collections, more) = self.consistency.objective(
                self.generator, params, collections, state, batch
            )
            objective = (objective + loss) / 2
            metrics |= more | {"loss/generator": objective}
        return objective, (collections, metrics)


@dataclasses.dataclass(frozen=True)
class AdversarialUniMatch(Adversarial):
    """The paper's method, with the consistency losses as one more term of G's objective."""

    SETTINGS = (LossWeights, UniMatchWeights)

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> Adversarial:
        """See `Method`."""
        method = super().from_config(config, num_classes, ignore_label)
        return dataclasses.replace(method, consistency=WeakToStrong.from_config(config))
