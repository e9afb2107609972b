"""Adversarial semi-supervised training: equations (1) to (5) of the paper.

AdvSemiSeg; and, by switches of the networks, its extensions by self-attention (SA) and spectral
normalization (SN).
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from sassn_jax import losses
from sassn_jax.config import Config, Settings
from sassn_jax.fields import NotNegative, Probability, Switch, Whole, one_of
from sassn_jax.methods import two_players
from sassn_jax.methods.consistency import WeakToStrong
from sassn_jax.methods.halves import images_by_kind, interleave, separate
from sassn_jax.methods.method import Method
from sassn_jax.methods.segmenter import Segmenter, self_training_health
from sassn_jax.methods.self_training import mixed_self_training
from sassn_jax.methods.state import Batch, Metrics, TrainState, Variables, unless
from sassn_jax.models.discriminator import MINIMUM_SIZE, Discriminator
from sassn_jax.models.layers import resize_bilinear
from sassn_jax.models.spectral_norm import COLLECTION, sigmas


@dataclasses.dataclass(frozen=True)
class LossWeights(Settings):
    """The numbers in G's objective and in D's.

    Attributes:
      lambda_adv_labeled: weight of equation (3) on labelled images.
      lambda_adv_unlabeled: weight of equation (3) on unlabelled images.
      lambda_semi: weight of equation (4).
      semi_threshold: confidence of D above which a pixel teaches G, T_semi.
      semi_confidence: probability of its most likely class that such a pixel needs as well.
      semi_mixed: whether G learns equation (4) on mixed images: boxes of half the area, as CutMix
        has them, are pasted in from the next unlabelled image. What teaches are still G's
        predictions for the images as they are, where D trusts them.
      semi_start: first step that takes unlabelled images.
      adv_from_start: whether only equation (4) waits for `semi_start`, and unlabelled images take
        part in equation (3) from step 0 on, as in AdvSemiSeg's code.
      discriminator_fake: the predictions that D learns from: those for the `labeled` images (the
        paper), or for `both` halves of the batch (AdvSemiSeg's code).
      exclude_filled: whether the losses leave out the pixels that fill up an unlabelled crop larger
        than its image. D still sees them. AdvSemiSeg's code leaves none out.
    """

    GROUP = "loss"
    lambda_adv_labeled: NotNegative = 0.01
    lambda_adv_unlabeled: NotNegative = 0.001
    lambda_semi: NotNegative = 0.1
    semi_threshold: Probability = 0.2
    semi_confidence: Probability = 0.0
    semi_mixed: Switch = False
    semi_start: Whole = 5000
    adv_from_start: Switch = False
    discriminator_fake: Annotated[str, one_of(("labeled", "both"))] = "labeled"
    exclude_filled: Switch = False


class Forward(struct.PyTreeNode):
    """G's and D's view of a batch: the labelled half, and the unlabelled one where there is one."""

    logits: Any  # [B, H, W, C], of G
    confidence_logits: Any  # [B, H, W], of D
    unlabeled_logits: Any = None
    unlabeled_confidence_logits: Any = None
    auxiliary_logits: Any = None  # of G's second head, where it has one


@dataclasses.dataclass(frozen=True)
class Adversarial(Method):
    """G learns from labels, from D, and from its own predictions where D trusts them.

    A step before `unlabeled_from` gets a batch without `unlabeled`; it is a program of its own.
    Spectral normalization takes one power iteration a step, in D's own pass; G's pass uses the
    stored vectors.

    Attributes:
      generator: G.
      discriminator: D.
      discriminator_optimizer: of D's parameters.
      weights: of the losses.
      consistency: losses that are one more term of G's objective, None for none. Equation (1)
        counts in full beside them, not half as the supervised loss does in UniMatch, so that the
        paper's weights and learning rates stay right. D does not see their strong views.
    """

    SETTINGS: ClassVar[tuple[type[Settings], ...]] = (LossWeights,)
    generator: Segmenter
    discriminator: Discriminator
    discriminator_optimizer: optax.GradientTransformation
    weights: LossWeights
    consistency: WeakToStrong | None = None

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Adversarial":
        """See `Method`."""
        return cls(
            Segmenter.from_config(config, num_classes, ignore_label),
            Discriminator(spectral_norm=config.model.spectral_norm, dtype=config.model.dtype),
            two_players.optimizer_from_config(config),
            config.settings_of(LossWeights),
        )

    @property
    def unlabeled_from(self) -> int | None:
        """See `LossWeights`."""
        return 0 if self.weights.adv_from_start else self.weights.semi_start

    @property
    def takes_valid(self) -> bool:
        """Losses that leave filled pixels out must know where these are."""
        return self.weights.exclude_filled or self.consistency is not None

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0."""
        labels = jnp.asarray(batch["labeled"]["label"][:1])
        real = losses.one_hot(labels, self.generator.num_classes)
        return two_players.init_players(
            self.generator,
            self.discriminator_optimizer,
            lambda rng: jax.jit(self.discriminator.init)(rng, real),
            rng,
            batch,
        )

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates both players from the same batch."""
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
    ) -> tuple[Float[Array, ""], tuple[Forward, Variables, Metrics]]:
        """Equation (1) of the paper, and the consistency losses if there are any.

        Returns:
          The objective; and both networks' outputs, G's new collections, and metrics.
        """
        labels = batch["labeled"]["label"]
        forward, collections = self._forward(params, state, batch)
        valid = labels != self.generator.ignore_label
        objective, metrics = self.generator.label_loss(
            forward.logits, forward.auxiliary_logits, labels
        )
        adversarial = losses.adversarial_loss(forward.confidence_logits, valid)
        objective += self.weights.lambda_adv_labeled * adversarial
        metrics["loss/adversarial_labeled"] = adversarial
        if forward.unlabeled_logits is not None:
            semi, (collections, semi_metrics) = self._unlabeled_objective(
                params, collections, forward, state, batch
            )
            objective += semi
            metrics |= semi_metrics
        if self.consistency is not None and "unlabeled" in batch:
            loss, (collections, more) = self.consistency.objective(
                self.generator, params, collections, state, batch
            )
            objective += loss
            metrics |= more
        metrics["loss/generator"] = objective
        return objective, (forward, collections, metrics)

    def discriminator_objective(
        self, params: Variables, state: TrainState, batch: Batch, outputs: Forward
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Equation (5) of the paper; `outputs` are treated as constants.

        Returns:
          The objective; and D's new collections and metrics.
        """
        assert state.discriminator is not None
        labels = batch["labeled"]["label"]
        valid = labels != self.generator.ignore_label
        logits, valid_by_kind = [outputs.logits], [valid]
        if self.weights.discriminator_fake == "both" and outputs.unlabeled_logits is not None:
            not_filled = self._not_filled(batch)
            logits.append(outputs.unlabeled_logits)
            valid_by_kind.append(jnp.ones_like(valid) if not_filled is None else not_filled)
        fakes = [jax.lax.stop_gradient(jax.nn.softmax(x)) for x in logits]
        real = losses.one_hot(labels, self.generator.num_classes)

        confidence_logits, collections = self._confidence_logits(
            {"params": params, **state.discriminator.collections},
            interleave([*fakes, real]),
            learning=True,
        )
        *fakes_logits, real_logits = separate(confidence_logits, len(fakes) + 1)
        fake_logits, fake_valid = interleave(fakes_logits), interleave(valid_by_kind)
        loss = losses.discriminator_loss(fake_logits, fake_valid, real_logits, valid)
        metrics = {
            "loss/discriminator": loss,
            "confidence/fake": losses.masked_mean(jax.nn.sigmoid(fake_logits), fake_valid),
            "confidence/real": losses.masked_mean(jax.nn.sigmoid(real_logits), valid),
        }
        for name, sigma in sigmas(params, collections.get(COLLECTION, {})).items():
            metrics[f"sigma/{name}"] = sigma
        return loss, (collections, metrics)

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"]:
        """Returns D's confidence that these are labels; 0 for images that are too small for D."""
        if min(probabilities.shape[1:3]) < MINIMUM_SIZE:
            return jnp.zeros(probabilities.shape[:3])
        assert state.discriminator is not None
        logits, _ = self._confidence_logits(
            state.discriminator.variables, probabilities, learning=False
        )
        return jax.nn.sigmoid(logits)

    def _forward(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Forward, Variables]:
        """One pass of G over the whole batch, and of D, unchanged, over its predictions."""
        assert state.discriminator is not None
        images = images_by_kind(batch)
        kinds = len(images)
        logits, auxiliary_logits, collections = self.generator.forward(
            params, state.generator.collections, interleave(images), state.step_rng, groups=kinds
        )
        confidence_logits, _ = self._confidence_logits(
            state.discriminator.variables, jax.nn.softmax(logits), learning=False
        )
        forward = Forward(logits, confidence_logits, auxiliary_logits=auxiliary_logits)
        if kinds == 2:
            labeled, unlabeled = separate(forward, kinds)
            forward = labeled.replace(
                unlabeled_logits=unlabeled.logits,
                unlabeled_confidence_logits=unlabeled.confidence_logits,
            )
        return forward, collections

    def _unlabeled_objective(
        self,
        params: Variables,
        collections: Variables,
        forward: Forward,
        state: TrainState,
        batch: Batch,
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """What unlabelled images add to equation (1); their labels serve a metric alone."""
        weights, labels = self.weights, batch["unlabeled"]["label"]
        logits, confidence_logits = forward.unlabeled_logits, forward.unlabeled_confidence_logits
        everywhere = jnp.ones_like(labels, bool)
        not_filled = self._not_filled(batch)
        adversarial = losses.adversarial_loss(
            confidence_logits, everywhere if not_filled is None else not_filled
        )
        classes, keep = self.pseudo_labels(forward, not_filled)
        new_collections = collections
        if weights.semi_mixed:
            self_training, new_collections = mixed_self_training(
                self.generator, params, collections, classes, keep, state, batch
            )
        else:
            self_training = losses.masked_cross_entropy(logits, classes, keep)
        semi = weights.lambda_semi * self_training
        if weights.adv_from_start:  # else there are no such batches before
            waits = state.step < weights.semi_start
            semi = jnp.where(waits, 0, semi)
            new_collections = unless(waits, new_collections, collections)
        objective = weights.lambda_adv_unlabeled * adversarial + semi
        metrics = {
            "loss/adversarial_unlabeled": adversarial,
            "loss/self_training": self_training,
            **self_training_health(
                keep, logits, labels, self.generator.ignore_label, valid=not_filled
            ),
        }
        return objective, (new_collections, metrics)

    def pseudo_labels(
        self, forward: Forward, not_filled: Bool[Array, "B H W"] | None
    ) -> tuple[Int[Array, "B H W"], Bool[Array, "B H W"]]:
        """Returns the classes that equation (4) teaches, and the pixels where it does."""
        logits = forward.unlabeled_logits
        confidence = jax.nn.sigmoid(forward.unlabeled_confidence_logits)
        keep = losses.trusted(confidence, self.weights.semi_threshold, not_filled)
        if self.weights.semi_confidence:
            keep &= jnp.max(jax.nn.softmax(logits), axis=-1) >= self.weights.semi_confidence
        return jnp.argmax(logits, axis=-1), keep

    def _not_filled(self, batch: Batch) -> Bool[Array, "B H W"] | None:
        """Returns the pixels of the unlabelled images that losses take, None for all."""
        return batch["unlabeled"]["valid"] if self.weights.exclude_filled else None

    def _confidence_logits(
        self, variables: Variables, probabilities: Float[Array, "B H W C"], *, learning: bool
    ) -> tuple[Float[Array, "B H W"], Variables]:
        """Returns D's logits at its input's size, and its collections where it is `learning`."""
        height, width = probabilities.shape[1:3]
        logits, collections = self.discriminator.apply(
            variables, probabilities, mutable=[COLLECTION] if learning else []
        )
        return resize_bilinear(logits, (height, width))[..., 0], collections
