"""CutMix with a mean teacher.

French et al. 2020, "Semi-supervised semantic segmentation needs strong, varied perturbations".
"""

import dataclasses
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.config import Config, Settings
from sassn_jax.fields import Decay, NotNegative, Probability, Switch, Whole, one_of
from sassn_jax.methods.consistency import pseudo_label_loss
from sassn_jax.methods.method import Method
from sassn_jax.methods.segmenter import Segmenter, self_training_health
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables
from sassn_jax.methods.teacher import Teacher
from sassn_jax.methods.views import half_boxes, mix
from sassn_jax.models.generator import AUXILIARY


@dataclasses.dataclass(frozen=True)
class CutMixWeights(Settings):
    """The numbers of the method. The defaults are those of its authors' code.

    Attributes:
      ema_decay: the share of the teacher that stays in a step; the rest is the student's.
      ema_warm_up: whether the teacher is the plain mean of all students at first, see `Teacher`.
      lambda_consistency: weight of the consistency loss.
      threshold: probability from which a prediction of the teacher's counts as confident.
      start: first step that takes unlabelled images.
      loss: how far the student is from its teacher. `squared_error` is the authors', see
        `consistency_loss`; `cross_entropy` takes the teacher's most likely class, where it is
        confident, for a label (Sohn et al. 2020, "FixMatch"), see `pseudo_label_loss`.
    """

    GROUP = "cutmix"
    ema_decay: Decay = 0.99
    ema_warm_up: Switch = False
    lambda_consistency: NotNegative = 1.0
    threshold: Probability = 0.97
    start: Whole = 0
    loss: Annotated[str, one_of(("squared_error", "cross_entropy"))] = "squared_error"


class Keys(NamedTuple):
    """Keys of a step, by what is drawn from them."""

    boxes: jax.Array
    teacher: jax.Array  # its dropout
    student: jax.Array


class StudentView(NamedTuple):
    """What the student sees of the unlabelled images, and should predict.

    Attributes:
      images: mixed.
      targets: probabilities of the teacher.
      valid: pixels that were not filled in.
      labels: for metrics alone.
    """

    images: Float[Array, "B H W 3"]
    targets: Float[Array, "B H W C"]
    valid: Bool[Array, "B H W"]
    labels: Int[Array, "B H W"]


@dataclasses.dataclass(frozen=True)
class CutMix(Method):
    """A student learns to predict for mixed images what its teacher predicts for them unmixed.

    G is the student; the teacher is its moving average, and predicts after training. Image i of the
    unlabelled half of a batch gets a box pasted in from image i + 1, where the authors draw a
    second batch; the only image of a batch of one stays as it is. Without unlabelled images this is
    supervised training with a teacher.

    Where the network normalizes by batch statistics, the student passes labelled and mixed images
    one after the other, each by their own statistics. The teacher is in training mode too, as in
    the authors' code, and normalizes by the statistics of the unlabelled images; its running
    statistics follow the student's, as its parameters do. The teacher has no backward pass and
    takes a batch whole, whatever `accumulation` is.

    Attributes:
      generator: the student.
      weights: of the consistency loss, and of the teacher.
    """

    SETTINGS = (CutMixWeights,)
    takes_valid = True
    generator: Segmenter
    weights: CutMixWeights

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "CutMix":
        """See `Method`."""
        return cls(
            Segmenter.from_config(config, num_classes, ignore_label),
            config.settings_of(CutMixWeights),
        )

    @property
    def unlabeled_from(self) -> int | None:
        """See `CutMixWeights`."""
        return self.weights.start

    @property
    def start_field(self) -> str:
        """See `Method`."""
        return "cutmix.start"

    @property
    def teacher(self) -> Teacher:
        """How the teacher follows the student."""
        return Teacher(self.weights.ema_decay, self.weights.ema_warm_up)

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0, in which the teacher is equal to the student."""
        state = self.generator.init_state(rng, batch)
        return state.replace(teacher=self.teacher.init(state.generator.variables))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates the student by the gradient of `objective`, then the teacher by the student."""
        new, metrics = self.generator.take_step(self.objective, state, batch)
        assert state.teacher is not None
        skipped = metrics["skipped/generator"] > 0
        teacher = self.teacher.update(state.teacher, new.generator.variables, state.step, skipped)
        return new.replace(teacher=teacher), metrics

    def objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Equation (2) of the paper on labelled images, and consistency on unlabelled ones.

        Returns:
          The objective; and the student's new collections and metrics.
        """
        objective, (collections, metrics) = self.generator.supervised_objective(
            params, state, batch
        )
        if "unlabeled" not in batch:
            return objective, (collections, metrics)
        view = self.student_view(state, batch)
        student_rng = self.keys(state).student
        logits, _, collections = self.generator.forward(
            params, collections, view.images, jax.random.fold_in(student_rng, state.step)
        )
        threshold, counts = self.weights.threshold, None  # of pixels, for the metrics: all
        if self.weights.loss == "cross_entropy":
            counts = view.valid
            found, trust = jnp.argmax(view.targets, axis=-1), jnp.max(view.targets, axis=-1)
            consistency = pseudo_label_loss(logits, found, trust, view.valid, threshold)
            confident = view.valid & (trust >= threshold)
        else:
            consistency, confident = consistency_loss(
                jax.nn.softmax(logits), view.targets, view.valid, threshold
            )
        objective += self.weights.lambda_consistency * consistency
        return objective, (
            collections,
            metrics
            | {
                "loss/generator": objective,
                "loss/consistency": consistency,
                **self_training_health(
                    confident,
                    view.targets,
                    view.labels,
                    self.generator.ignore_label,
                    "consistency",
                    counts,
                ),
            },
        )

    def student_view(self, state: TrainState, batch: Batch) -> StudentView:
        """Mixes the unlabelled images of a batch, and what their teacher says of them."""
        unlabeled = batch["unlabeled"]
        images = unlabeled["image"]
        boxes = half_boxes(self.keys(state).boxes, len(images), images.shape[1:3])
        # A mask of zeros and ones mixes probabilities as it does logits.
        unmixed = (images, self.teach(state, images), unlabeled["valid"], unlabeled["label"])
        return StudentView(*(mix(x, boxes) for x in unmixed))

    def keys(self, state: TrainState) -> Keys:
        """Returns what the random numbers of a step are drawn from."""
        return Keys(*jax.random.split(state.step_rng, 3))

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns the teacher's variables."""
        assert state.teacher is not None
        return state.teacher

    def teach(self, state: TrainState, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W C"]:
        """Returns the probabilities that a step takes from the teacher for images before mixing."""
        assert state.teacher is not None
        logits, _ = self.generator.network.apply(
            state.teacher,
            images,
            train=True,
            rngs={"dropout": self.keys(state).teacher},
            mutable=["batch_stats", AUXILIARY],
        )
        return jax.nn.softmax(logits)


def consistency_loss(
    probabilities: Float[Array, "B H W C"],
    targets: Float[Array, "B H W C"],
    valid: Bool[Array, "B H W"],
    threshold: float,
) -> tuple[Float[Array, ""], Bool[Array, "B H W"]]:
    """How far predictions are from their targets, times the share of confident targets.

    The share scales the loss as a whole: pixels with an unsure target take part as all others do.
    Pixels that were filled in count as equal. Distance and share are nevertheless means over all
    pixels, these included, in the authors' code and here.

    Args:
      probabilities: of the student.
      targets: of the teacher. Treated as constants.
      valid: pixels that were not filled in.
      threshold: largest probability from which a target is confident.

    Returns:
      The squared differences, summed over classes and averaged over pixels, times the share; and
      which targets are confident.
    """
    targets = jax.lax.stop_gradient(targets)
    confident = jnp.max(targets, axis=-1) >= threshold
    distance = jnp.where(valid, jnp.sum(jnp.square(probabilities - targets), axis=-1), 0)
    return jnp.mean(distance) * jnp.mean(confident.astype(distance.dtype)), confident
