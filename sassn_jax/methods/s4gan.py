"""s4GAN: a discriminator of whole images says which predictions are good enough to learn from.

Mittal, Tatarchenko and Brox 2019, "Semi-Supervised Semantic Segmentation with High- and Low-level
Consistency", the low-level branch.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from sassn_jax import losses
from sassn_jax.config import Config, Settings
from sassn_jax.fields import NotNegative, Probability
from sassn_jax.methods import two_players
from sassn_jax.methods.halves import images_by_kind, interleave, separate
from sassn_jax.methods.method import Method
from sassn_jax.methods.segmenter import Segmenter, self_training_health
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables
from sassn_jax.models.image_discriminator import ImageDiscriminator, scale_to_unit


@dataclasses.dataclass(frozen=True)
class S4GANWeights(Settings):
    """The numbers in G's objective.

    Attributes:
      lambda_feature_matching: weight of `feature_matching_loss`.
      lambda_self_training: weight of the cross entropy to G's own classes.
      threshold: score of D above which all of an image teaches G.
    """

    GROUP = "s4gan"
    lambda_feature_matching: NotNegative = 0.1
    lambda_self_training: NotNegative = 1.0
    threshold: Probability = 0.6


class Judged(NamedTuple):
    """What D makes of images."""

    logits: Float[Array, " B"]
    features: Float[Array, "B D"]


@dataclasses.dataclass(frozen=True)
class S4GAN(Method):
    """G learns from labels, from D's features, and from whole images of which D is confident.

    D sees labelled images with their labels, an ignored pixel as zeros, and unlabelled images with
    G's predictions. It never sees predictions for labelled images. The authors' code draws the
    labelled images that D sees a second time; here they are the batch's. Within a step D drops the
    same channels in G's pass and in its own. D judges whole crops, pixels that were filled because
    an image is smaller than the crop included. A batch without `unlabeled` gives a step of
    supervised training.

    Attributes:
      generator: G.
      discriminator: D.
      discriminator_optimizer: of D's parameters.
      weights: of the losses.
    """

    SETTINGS = (S4GANWeights,)
    unlabeled_from = 0
    generator: Segmenter
    discriminator: ImageDiscriminator
    discriminator_optimizer: optax.GradientTransformation
    weights: S4GANWeights

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "S4GAN":
        """See `Method`."""
        return cls(
            Segmenter.from_config(config, num_classes, ignore_label),
            ImageDiscriminator(dtype=config.model.dtype),
            two_players.optimizer_from_config(config),
            config.settings_of(S4GANWeights),
        )

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0."""
        images, labels = (jnp.asarray(batch["labeled"][name][:1]) for name in ("image", "label"))
        real = losses.one_hot(labels, self.generator.num_classes)
        init = jax.jit(functools.partial(self.discriminator.init, train=False))
        return two_players.init_players(
            self.generator,
            self.discriminator_optimizer,
            lambda rng: init(rng, real, images),
            rng,
            batch,
        )

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates both players from the same batch, or G alone where all images are labelled."""
        if "unlabeled" not in batch:
            return self.generator.take_step(self.generator.supervised_objective, state, batch)
        return two_players.play(
            self.generator,
            self.discriminator_optimizer,
            self.generator_objective,
            self.discriminator_objective,
            state,
            batch,
        )

    def generator_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Float[Array, "B H W C"], Variables, Metrics]]:
        """Cross entropy, feature matching and self-training; there is no adversarial term.

        Returns:
          The objective; and G's logits on unlabelled images, its new collections, and metrics.
        """
        images = interleave(images_by_kind(batch))
        *outputs, collections = self.generator.forward(
            params, state.generator.collections, images, state.step_rng, groups=2
        )
        (logits, auxiliary_logits), (unlabeled_logits, _) = separate(outputs, 2)
        objective, metrics = self.generator.label_loss(
            logits, auxiliary_logits, batch["labeled"]["label"]
        )

        assert state.discriminator is not None
        fake, real = self._judge(state.discriminator.params, state, batch, unlabeled_logits)
        labeled = self._has_labels(batch)
        feature_matching = feature_matching_loss(real.features, fake.features, labeled)
        scores = jax.nn.sigmoid(fake.logits)[:, None, None]
        self_training, keep = losses.self_training_loss(
            unlabeled_logits,
            jnp.broadcast_to(scores, unlabeled_logits.shape[:3]),
            self.weights.threshold,
        )
        objective += (
            self.weights.lambda_feature_matching * feature_matching
            + self.weights.lambda_self_training * self_training
        )
        metrics |= {
            "loss/feature_matching": feature_matching,
            "loss/self_training": self_training,
            "loss/generator": objective,
            **self_training_health(
                keep, unlabeled_logits, batch["unlabeled"]["label"], self.generator.ignore_label
            ),
        }
        return objective, (unlabeled_logits, collections, metrics)

    def discriminator_objective(
        self, params: Variables, state: TrainState, batch: Batch, outputs: Float[Array, "B H W C"]
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Binary cross entropy: labels against 1, predictions on unlabelled images against 0.

        Args:
          params: of D.
          state: of everything else.
          batch: of both kinds of images.
          outputs: logits of G on the unlabelled ones, treated as constants.

        Returns:
          The mean of the two halves; and D's new collections, of which it has none, and metrics.
        """
        fake, real = self._judge(params, state, batch, jax.lax.stop_gradient(outputs))
        everywhere = jnp.ones(len(outputs), bool)
        labeled = self._has_labels(batch)
        loss = losses.discriminator_loss(fake.logits, everywhere, real.logits, labeled)
        metrics = {
            "loss/discriminator": loss,
            "confidence/fake": jnp.mean(jax.nn.sigmoid(fake.logits)),
            "confidence/real": losses.masked_mean(jax.nn.sigmoid(real.logits), labeled),
        }
        return loss, ({}, metrics)

    def _has_labels(self, batch: Batch) -> Bool[Array, " B"]:
        """Which labelled crops show a label. To D the others would be real maps of no class."""
        return jnp.any(batch["labeled"]["label"] != self.generator.ignore_label, axis=(1, 2))

    def _judge(
        self, params: Variables, state: TrainState, batch: Batch, logits: Float[Array, "B H W C"]
    ) -> tuple[Judged, Judged]:
        """D's view of unlabelled images with G's logits, and of labelled ones with their labels."""
        real = losses.one_hot(batch["labeled"]["label"], self.generator.num_classes)
        judged = Judged(
            *self.discriminator.apply(
                {"params": params},
                interleave([real, jax.nn.softmax(logits)]),
                scale_to_unit(interleave(images_by_kind(batch))),
                train=True,
                rngs={"dropout": state.step_rng},
            )
        )
        of_real, of_fake = separate(judged, 2)
        return of_fake, of_real


def feature_matching_loss(
    real: Float[Array, "B D"], fake: Float[Array, "b D"], labeled: Bool[Array, " B"]
) -> Float[Array, ""]:
    """How far predictions look from labels to D: the mean absolute difference of mean features.

    Args:
      real: features of D for images with their labels.
      fake: those for images with predictions; the batch need not be as large.
      labeled: which of the images with labels take part. It is 0 if none does.
    """
    count = jnp.maximum(jnp.sum(labeled), 1).astype(real.dtype)
    mean = jnp.sum(jnp.where(labeled[:, None], real, 0), axis=0) / count
    distance = jnp.mean(jnp.abs(mean - jnp.mean(fake, axis=0)))
    return jnp.where(jnp.any(labeled), distance, 0)
