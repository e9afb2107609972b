"""A method that is watched, class by class, and may be told where its predictions are right."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sassn_jax import losses
from sassn_jax.config import Config
from sassn_jax.methods import METHODS, Batch, Method, TrainState, Variables
from sassn_jax.methods.adversarial import LossWeights
from sassn_jax.methods.cutmix import CutMixWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Metrics
from sassn_jax.methods.unimatch import UniMatchWeights
from sassn_jax.recipes import METHOD_FIELDS

WATCHED, ORACLE = "watched_", "oracle_"  # what the names of such methods begin with
# The field with the threshold of what passes the mask, by method.
THRESHOLDS: dict[str, tuple[type[Any], str]] = {
    "cutmix": (CutMixWeights, "threshold"),
    "unimatch": (UniMatchWeights, "threshold"),
    **dict.fromkeys(
        ("advsemiseg", "sa", "sn", "sassn", "sa1", "sa2", "sa1_sn", "sa2_sn", "advsemiseg_code"),
        (LossWeights, "semi_threshold"),
    ),
}
# With these every pixel passes the mask, so that the oracle alone decides.
ALL_PASS = {"cutmix.threshold": 0.0, "unimatch.threshold": 0.0, "loss.semi_threshold": 0.0}
# The losses that leave out pixels which are not `valid` do so in D's methods only with this.
HEED_VALID = {"loss.exclude_filled": True}


@dataclasses.dataclass(frozen=True)
class Watched(Method):
    """Any method of `THRESHOLDS`, with metrics of what its mask lets pass, by class.

    `teaches/pixels_3` is the share of all unlabelled pixels that pass the mask as class 3,
    `teaches/right_3` how much of it is right, and `finds/recall_3` and `finds/iou_3` compare all
    predictions for unlabelled images, whether they pass or not, with the truth. Predictions are
    those of the network that predicts after training, in evaluation.

    Attributes:
      inner: the method itself.
      threshold: of confidence, from which a pixel passes the mask.
      oracle: whether only pixels whose prediction is right are `valid`, so that no other teaches.
    """

    ORACLE: ClassVar[bool] = False
    inner: Method
    threshold: float

    takes_valid = True

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Watched":
        """See `Method`."""
        name = config.method.removeprefix(ORACLE if cls.ORACLE else WATCHED)
        kind, field = THRESHOLDS[name]
        inner = METHODS[name].from_config(config, num_classes, ignore_label)
        return cls(inner, getattr(config.settings_of(kind), field))

    @property
    def generator(self) -> Segmenter:
        """See `Method`."""
        return self.inner.generator

    @property
    def unlabeled_from(self) -> int | None:
        """See `Method`."""
        return self.inner.unlabeled_from

    def init(self, rng: Any, batch: Batch) -> TrainState:
        """See `Method`."""
        return self.inner.init(rng, batch)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Takes the step of `inner`, and looks at what teaches it."""
        if "unlabeled" not in batch:
            return self.inner.step(state, batch)
        unlabeled = batch["unlabeled"]
        probabilities = self.predict(self.inference_variables(state), unlabeled["image"])
        found, labels = jnp.argmax(probabilities, axis=-1), unlabeled["label"]
        trust = self.inner.confidence(state, probabilities)
        if trust is None:  # a method without D trusts probable classes
            trust = jnp.max(probabilities, axis=-1)
        teaches = unlabeled["valid"] & (trust >= self.threshold)
        if self.ORACLE:
            teaches &= found == labels
            batch = {**batch, "unlabeled": {**unlabeled, "valid": teaches}}
        new, metrics = self.inner.step(state, batch)
        known = labels != self.generator.ignore_label
        return new, metrics | by_class(found, labels, teaches, known, self.generator.num_classes)

    def inference_variables(self, state: TrainState) -> Variables:
        """See `Method`."""
        return self.inner.inference_variables(state)

    def own_learning_rates(self, step: int) -> dict[str, float]:
        """See `Method`."""
        return self.inner.own_learning_rates(step)

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"] | None:
        """See `Method`."""
        return self.inner.confidence(state, probabilities)


class Oracle(Watched):
    """The same, and a pixel teaches only where its prediction is right."""

    ORACLE = True


def by_class(
    found: Int[Array, "B H W"],
    labels: Int[Array, "B H W"],
    teaches: Bool[Array, "B H W"],
    known: Bool[Array, "B H W"],
    num_classes: int,
) -> Metrics:
    """Returns the metrics of `Watched`; NaN for a share of no pixels."""

    def share(part: Bool[Array, "B H W"], whole: Bool[Array, "B H W"]) -> Float[Array, ""]:
        mean = losses.masked_mean(part.astype(jnp.float32), whole)
        return jnp.where(jnp.any(whole), mean, jnp.nan)

    metrics: Metrics = {}
    for i in range(num_classes):
        is_found, is_true = known & (found == i), labels == i
        metrics[f"teaches/pixels_{i}"] = share(teaches & is_found, known)
        metrics[f"teaches/right_{i}"] = share(is_true, teaches & is_found)
        metrics[f"finds/recall_{i}"] = share(is_found, is_true)
        metrics[f"finds/iou_{i}"] = share(is_found & is_true, is_found | is_true)
    return metrics


def register() -> None:
    """Adds both kinds of each method of `THRESHOLDS` to the methods that a config can name."""
    for name in THRESHOLDS:
        for prefix, kind in ((WATCHED, Watched), (ORACLE, Oracle)):
            METHODS[prefix + name] = kind
            METHOD_FIELDS[prefix + name] = METHOD_FIELDS.get(name, {})
