"""UniMatch, alone and with the adversarial method.

Yang et al. 2023, "Revisiting weak-to-strong consistency in semi-supervised semantic segmentation".
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.data import Normalize
from sassn_jax.losses import masked_mean
from sassn_jax.methods.adversarial import Adversarial, Forward
from sassn_jax.methods.halves import separate
from sassn_jax.methods.method import Batch, Metrics, TrainState, Variables
from sassn_jax.methods.supervised import Supervised, self_training_health
from sassn_jax.methods.views import mix, random_boxes, strong_view


@dataclasses.dataclass(frozen=True)
class UniMatchWeights:
    """The numbers in the consistency losses, as the authors' code has them for VOC.

    Attributes:
      threshold: probability from which a prediction for the weak view teaches.
      lambda_strong: weight of the loss on each of two strong views.
      lambda_features: weight of the loss on perturbed features.
    """

    threshold: float = 0.95
    lambda_strong: float = 0.25
    lambda_features: float = 0.5


@dataclasses.dataclass(frozen=True)
class WeakToStrong:
    """What unlabelled images add to an objective: `weights` of it, and `normalize` of images.

    A batch's unlabelled images, scaled, cropped and mirrored, are the weak view. Their most likely
    classes, predicted in evaluation mode (by the running statistics, without dropout), are the
    targets of three more predictions:

    - for two strong views, see `strong_view`, each with boxes pasted in from the next image of the
      batch, and the targets with them: `mix` and `random_boxes`;
    - for the weak view, half of the channels of its features dropped before the head.

    Pixels that were filled in, because an image was smaller than the crop, teach nothing, wherever
    they are pasted; `valid` of the batch tells them.

    UniMatch predicts in evaluation mode only what is pasted in, and draws that from a second batch;
    its other targets are of the pass that learns. With `model.norm = frozen` these are the same.

    The three go through G in one pass, each by batch statistics of its own, where it uses any, and
    after the labelled images. (UniMatch's code normalizes the weak view together with the labelled
    images, and its two strong views together; and drops features of two levels, of a DeepLabv3+.)
    `accumulation` cuts this pass as it does the labelled one; the pass for the targets has no
    backward pass, and stays whole.
    """

    weights: UniMatchWeights
    normalize: Normalize

    def objective(
        self,
        method: Supervised,
        params: Variables,
        state: TrainState,
        batch: Batch,
        collections: Variables,
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Returns the weighted sum of the three losses, G's new collections and metrics.

        Args:
          method: that owns G.
          params: of G, to learn.
          state: before the step.
          batch: with an unlabelled half.
          collections: of G as its passes for other images in this step have left them.
        """
        images, labels, valid = (batch["unlabeled"][name] for name in ("image", "label", "valid"))
        rng = jax.random.fold_in(state.rng, state.step)
        pass_rng, *view_rngs = jax.random.split(rng, 3)
        # Not of `params`: no gradient flows through the targets.
        probabilities = method.predict(state.generator.variables, images)
        target, confidence = jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1)

        views, targets = [images], [(target, confidence, valid)]
        for view_rng in view_rngs:
            look_rng, box_rng = jax.random.split(view_rng)
            boxes = random_boxes(box_rng, len(images), images.shape[1:3])
            views.append(mix(strong_view(look_rng, images, self.normalize), boxes))
            targets.append((mix(target, boxes), mix(confidence, boxes), mix(valid, boxes)))
        last_pass = state.replace(
            rng=pass_rng, generator=state.generator.replace(collections=collections)
        )
        logits, _, collections = method.forward(
            params,
            last_pass,
            rearrange(jnp.stack(views, axis=1), "b g h w c -> (b g) h w c"),
            groups=len(views),
            perturbed_group=0,
        )
        features, strong1, strong2 = (
            pseudo_label_loss(of_view, *of_teacher, self.weights.threshold)
            for of_view, of_teacher in zip(separate(logits, len(views)), targets, strict=True)
        )
        loss = self.weights.lambda_strong * (strong1 + strong2)
        loss += self.weights.lambda_features * features
        keep = valid & (confidence >= self.weights.threshold)
        return loss, (
            collections,
            {
                "loss/strong1": strong1,
                "loss/strong2": strong2,
                "loss/features": features,
                **self_training_health(
                    keep, probabilities, labels, method.ignore_label, "consistency", valid
                ),
            },
        )


@dataclasses.dataclass(frozen=True)
class UniMatch(Supervised):
    """Cross entropy on labelled images, and what `consistency` adds; half of the sum.

    A batch without unlabelled images counts in full, as in supervised training.

    Attributes:
      consistency: of predictions for unlabelled images.
    """

    consistency: WeakToStrong = dataclasses.field(kw_only=True)

    @property
    def unlabeled_from(self) -> int | None:
        """All steps take unlabelled images."""
        return 0

    @property
    def takes_valid(self) -> bool:
        """There is nothing to agree on in what was filled in."""
        return True

    def objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Returns the objective; and G's new collections and metrics."""
        objective, (collections, metrics) = super().objective(params, state, batch)
        if "unlabeled" in batch:
            loss, (collections, more) = self.consistency.objective(
                self, params, state, batch, collections
            )
            objective = (objective + loss) / 2
            metrics |= more | {"loss/generator": objective}
        return objective, (collections, metrics)


@dataclasses.dataclass(frozen=True)
class AdversarialUniMatch(Adversarial):
    """The paper's method, and what `consistency` adds to G's objective from `unlabeled_from` on.

    Equation (1) counts in full, not half as the supervised loss does in UniMatch, so that the
    paper's weights and learning rates stay right. D knows nothing of the strong views.

    Attributes:
      consistency: of predictions for unlabelled images.
    """

    consistency: WeakToStrong = dataclasses.field(kw_only=True)

    @property
    def takes_valid(self) -> bool:
        """The consistency leaves filled pixels out, equation (1) where `weights` say so."""
        return True

    def generator_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Forward, Variables, Metrics]]:
        """Returns the objective; and what equation (1) does beside it."""
        objective, (forward, collections, metrics) = super().generator_objective(
            params, state, batch
        )
        if "unlabeled" in batch:
            loss, (collections, more) = self.consistency.objective(
                self, params, state, batch, collections
            )
            objective += loss
            metrics |= more | {"loss/generator": objective}
        return objective, (forward, collections, metrics)


def pseudo_label_loss(
    logits: Float[Array, "B H W C"],
    target: Int[Array, "B H W"],
    confidence: Float[Array, "B H W"],
    valid: Bool[Array, "B H W"],
    threshold: float,
) -> Float[Array, ""]:
    """Cross entropy to a target where that is confident, over the number of all valid pixels.

    The fewer are confident, the less it counts, in contrast to equation (4) of the paper.

    Args:
      logits: unnormalized.
      target: class of each pixel.
      confidence: in that class, a probability.
      valid: pixels that were not filled in where an image was smaller than the crop.
      threshold: pixels with at least this confidence take part.
    """
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return masked_mean(jnp.where(confidence >= threshold, cross_entropy, 0), valid)
