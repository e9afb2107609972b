"""Weak-to-strong consistency, the losses of UniMatch on unlabelled images.

Yang et al. 2023, "Revisiting weak-to-strong consistency in semi-supervised semantic segmentation".
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.config import Config, Settings
from sassn_jax.data import Normalize
from sassn_jax.errors import InputError
from sassn_jax.fields import NotNegative, Probability, Whole
from sassn_jax.losses import masked_mean
from sassn_jax.methods.halves import interleave, separate
from sassn_jax.methods.segmenter import Segmenter, self_training_health
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables
from sassn_jax.methods.views import mix, random_boxes, strong_view
from sassn_jax.models.networks import is_vgg


@dataclasses.dataclass(frozen=True)
class UniMatchWeights(Settings):
    """The numbers in the consistency losses, as the authors' code has them for VOC.

    Attributes:
      threshold: probability from which a prediction for the weak view teaches.
      lambda_strong: weight of the loss on each of two strong views.
      lambda_features: weight of the loss on perturbed features.
      start: first step of `UniMatch` that takes unlabelled images. Before it the loss on labels
        counts in full, and from it on half.
      strength: of the change of colours and sharpness in a strong view, see `strong_view`.
    """

    GROUP = "unimatch"
    threshold: Probability = 0.95
    lambda_strong: NotNegative = 0.25
    lambda_features: NotNegative = 0.5
    start: Whole = 0
    strength: Probability = 1.0


@dataclasses.dataclass(frozen=True)
class WeakToStrong:
    """The consistency losses on unlabelled images, a term of G's objective.

    The unlabelled images of a batch, scaled, cropped and mirrored, are the weak view. Their most
    likely classes, predicted in evaluation mode, are the targets of three more predictions:

    - two for strong views, see `strong_view`; each has boxes pasted in from the next image of the
      batch, and so have its targets, see `mix` and `random_boxes`;
    - one for the weak view, with half of the channels of its features dropped before the head.

    Pixels that were filled because an image is smaller than the crop teach nothing, wherever they
    are pasted. The batch's `valid` says where they are.

    The three views take one pass through G, after the labelled images; each is normalized by batch
    statistics of its own, where the network uses any. `accumulation` cuts this pass into pieces.
    The pass for the targets has no backward pass and stays whole.

    UniMatch's code differs. It draws what is pasted from a second batch. It takes only the targets
    of what is pasted from a pass in evaluation mode, the others from the pass that learns; with
    frozen norms this is the same. It normalizes the weak view together with the labelled images,
    and the two strong views together. It drops features of two levels, of a DeepLabv3+.

    Attributes:
      weights: of the three losses.
      normalize: the normalization of the images.
    """

    weights: UniMatchWeights
    normalize: Normalize

    @classmethod
    def from_config(cls, config: Config) -> "WeakToStrong":
        """Returns the term that a config describes.

        Raises:
          InputError: for a network on a VGG, whose features cannot be perturbed.
        """
        if is_vgg(config.model.backbone):
            raise InputError(
                f"model.backbone={config.model.backbone!r}: expected a ResNet with "
                f"method={config.method!r}, which perturbs its features"
            )
        return cls(config.settings_of(UniMatchWeights), config.image)

    def objective(
        self,
        generator: Segmenter,
        params: Variables,
        collections: Variables,
        state: TrainState,
        batch: Batch,
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Returns the weighted sum of the three losses, G's new collections and metrics.

        Args:
          generator: G.
          params: of G, to learn.
          collections: of G, after its passes for other images in this step.
          state: before the step.
          batch: with an unlabelled half.
        """
        images, labels, valid = (batch["unlabeled"][name] for name in ("image", "label", "valid"))
        pass_rng, *view_rngs = jax.random.split(state.step_rng, 3)
        # With the variables of the state and not `params`: no gradient flows through the targets.
        probabilities = jax.nn.softmax(generator.logits(state.generator.variables, images))
        target, confidence = jnp.argmax(probabilities, axis=-1), jnp.max(probabilities, axis=-1)

        views, targets = [images], [(target, confidence, valid)]
        for view_rng in view_rngs:
            look_rng, box_rng = jax.random.split(view_rng)
            boxes = random_boxes(box_rng, len(images), images.shape[1:3])
            strong = strong_view(look_rng, images, self.normalize, self.weights.strength)
            views.append(mix(strong, boxes))
            targets.append((mix(target, boxes), mix(confidence, boxes), mix(valid, boxes)))
        logits, _, collections = generator.forward(
            params,
            collections,
            interleave(views),
            jax.random.fold_in(pass_rng, state.step),
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
                    keep, probabilities, labels, generator.ignore_label, "consistency", valid
                ),
            },
        )


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
