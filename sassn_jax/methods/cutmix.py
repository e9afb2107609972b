"""CutMix with a mean teacher.

French et al. 2020, "Semi-supervised semantic segmentation needs strong, varied perturbations".
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sassn_jax.methods.method import Batch, Metrics, TrainState, Variables
from sassn_jax.methods.supervised import Supervised, self_training_health
from sassn_jax.methods.teacher import moving_average
from sassn_jax.methods.views import half_boxes, mix
from sassn_jax.models.generator import AUXILIARY


@dataclasses.dataclass(frozen=True)
class CutMixWeights:
    """The numbers of the method, as its authors' code has them.

    Attributes:
      ema_decay: how much of the teacher is left after a step; the rest becomes the student's.
      lambda_consistency: weight of the consistency loss, from the first step on.
      threshold: probability from which a prediction of the teacher's counts as confident.
    """

    ema_decay: float = 0.99
    lambda_consistency: float = 1.0
    threshold: float = 0.97


@dataclasses.dataclass(frozen=True)
class CutMix(Supervised):
    """G, the student, predicts for mixed images what its moving average, the teacher, does unmixed.

    Image i of the unlabelled half of a batch has a box pasted in from image i + 1, where the
    authors draw a second batch; an only image stays whole, and is its own partner. Where there are
    no unlabelled images this is supervised training with a teacher. The teacher is what predicts.

    Batch statistics, where the networks use them: the student's labelled and mixed images have
    their own, one pass after the other. The teacher is in training mode too, as the authors have
    it, and takes those of the unlabelled images; what it keeps of them follows the student's, as
    its parameters do. It sees a batch whole, whatever `accumulation` is: it has no backward pass.

    Attributes:
      weights: of the consistency loss, and of the teacher.
    """

    weights: CutMixWeights = CutMixWeights()

    @property
    def unlabeled_from(self) -> int | None:
        """All steps take unlabelled images."""
        return 0

    @property
    def takes_valid(self) -> bool:
        """There is nothing to agree on in what was filled in."""
        return True

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0; the teacher begins as the student does."""
        state = super().init(rng, batch)
        # Arrays of its own: a step takes the memory of the state that it is given.
        return state.replace(teacher=jax.tree.map(jnp.copy, state.generator.variables))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates the student by the gradient of `objective`, then the teacher by the student."""
        new, metrics = super().step(state, batch)
        teacher = moving_average(state.teacher, new.generator.variables, self.weights.ema_decay)
        return new.replace(teacher=teacher), metrics

    def objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Equation (2) of the paper on labelled images, and consistency on unlabelled ones.

        Returns:
          The objective; and the student's new collections and metrics.
        """
        objective, (collections, metrics) = super().objective(params, state, batch)
        if "unlabeled" not in batch:
            return objective, (collections, metrics)
        images, labels, valid = (batch["unlabeled"][name] for name in ("image", "label", "valid"))
        rng = jax.random.fold_in(state.rng, state.step)
        box_rng, teacher_rng, student_rng = jax.random.split(rng, 3)
        boxes = half_boxes(box_rng, len(images), images.shape[1:3])

        # A mask of zeros and ones mixes probabilities as it does logits.
        targets = mix(self._teach(state.teacher, images, teacher_rng), boxes)
        second_pass = state.replace(
            rng=student_rng, generator=state.generator.replace(collections=collections)
        )
        logits, _, collections = self.forward(params, second_pass, mix(images, boxes))
        consistency, confident = consistency_loss(
            jax.nn.softmax(logits), targets, mix(valid, boxes), self.weights.threshold
        )
        objective += self.weights.lambda_consistency * consistency
        return objective, (
            collections,
            metrics
            | {
                "loss/generator": objective,
                "loss/consistency": consistency,
                **self_training_health(
                    confident, targets, mix(labels, boxes), self.ignore_label, "consistency"
                ),
            },
        )

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns what `predict` takes of a state: the teacher."""
        return state.teacher

    def _teach(
        self, teacher: Variables, images: Float[Array, "B H W 3"], rng: jax.Array
    ) -> Float[Array, "B H W C"]:
        """Returns the teacher's probabilities, its network as in training."""
        logits, _ = self.generator.apply(
            teacher,
            images,
            train=True,
            rngs={"dropout": rng},
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
