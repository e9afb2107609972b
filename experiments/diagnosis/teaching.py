"""What a method takes its unlabelled images for, and its step where somebody else decides that."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.methods import METHODS, Batch, Method, TrainState, Variables
from sassn_jax.methods.adversarial import Adversarial, Forward
from sassn_jax.methods.cutmix import CutMix
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Metrics
from sassn_jax.methods.unimatch import UniMatch

KINDS = (Adversarial, CutMix, UniMatch)  # of methods with a mask of pixels
NAMES = tuple(name for name, kind in METHODS.items() if kind in KINDS)
LOGIT_OF_CERTAINTY = 1e4  # no other class has any probability beside it


class Targets(NamedTuple):
    """What unlabelled images are taken for.

    Attributes:
      found: the most likely class of each pixel.
      trust: what the method compares with its threshold: D's confidence for a method with a D, and
        the probability of the most likely class for another.
      passes: the pixels that teach: where that is above the threshold and, for a method with a D,
        the class has the probability that `loss.semi_confidence` asks for.
    """

    found: Int[Array, "B H W"]
    trust: Float[Array, "B H W"]
    passes: Bool[Array, "B H W"]


def chooses_pixels(method: Method) -> bool:
    """Whether the threshold of a method chooses the pixels that teach.

    In CutMix with the squared error all pixels do, and the share that passes weighs their loss.
    """
    return not (isinstance(method, CutMix) and method.weights.loss == "squared_error")


def own_targets(method: Method, state: TrainState, batch: Batch) -> Targets:
    """Returns what a step of the method takes its unlabelled images for, to the bit."""
    if isinstance(method, Adversarial):
        _, (forward, _, _) = method.generator_objective(state.generator.params, state, batch)
        probabilities = jax.nn.softmax(forward.unlabeled_logits)
        trust = jax.nn.sigmoid(forward.unlabeled_confidence_logits)
        return _targets(method, batch, probabilities, trust)
    if isinstance(method, CutMix):
        probabilities = method.teach(state, batch["unlabeled"]["image"])
    else:
        probabilities = method.predict(state.generator.variables, batch["unlabeled"]["image"])
    return _targets(method, batch, probabilities, jnp.max(probabilities, axis=-1))


def targets_of(teacher: Variables, method: Method, state: TrainState, batch: Batch) -> Targets:
    """Returns the same if another network of the same shape predicts in the place of G.

    Args:
      teacher: variables of that network.
      method: whose mask it is, and whose D.
      state: of the method.
      batch: with an unlabelled half.
    """
    images = batch["unlabeled"]["image"]
    if isinstance(method, CutMix):
        return own_targets(method, state.replace(teacher=teacher), batch)
    probabilities = method.predict(teacher, images)
    trust = method.confidence(state, probabilities)
    if trust is None:
        trust = jnp.max(probabilities, axis=-1)
    return _targets(method, batch, probabilities, trust)


def learn_right_pixels(
    method: Method, state: TrainState, batch: Batch, targets: Targets
) -> tuple[TrainState, Metrics]:
    """Takes a step in which a pixel teaches where its class is right, and only there.

    For a method whose threshold chooses no pixels but scales the loss as a whole, a right pixel
    weighs as much as in its own step: the wrong pixels are taken away, and nothing else changes.

    Args:
      method: that takes the step.
      state: before it.
      batch: whose unlabelled half has its true labels.
      targets: the method's own.
    """
    right = targets.found == batch["unlabeled"]["label"]
    if not chooses_pixels(method):
        return method.step(state, {**batch, "unlabeled": {**batch["unlabeled"], "valid": right}})
    return _learn_classes(method, state, batch, targets.found, right)


def learn_from(
    teacher: Variables, method: Method, state: TrainState, batch: Batch, targets: Targets
) -> tuple[TrainState, Metrics]:
    """Takes a step in which another network says what the unlabelled images show.

    Args:
      teacher: variables of that network.
      method: that takes the step.
      state: before it.
      batch: with an unlabelled half.
      targets: from `targets_of`.
    """
    if isinstance(method, CutMix):
        new, metrics = method.step(state.replace(teacher=teacher), batch)
        assert state.teacher is not None
        skipped = metrics["skipped/generator"] > 0
        average = method.teacher.update(state.teacher, new.generator.variables, state.step, skipped)
        return new.replace(teacher=average), metrics
    return _learn_classes(method, state, batch, targets.found, targets.passes)


def _targets(
    method: Method,
    batch: Batch,
    probabilities: Float[Array, "B H W C"],
    trust: Float[Array, "B H W"],
) -> Targets:
    valid = batch["unlabeled"]["valid"]
    if isinstance(method, Adversarial):
        passes = trust > method.weights.semi_threshold
        passes &= jnp.max(probabilities, axis=-1) >= method.weights.semi_confidence
        if method.weights.exclude_filled:
            passes &= valid
    elif isinstance(method, CutMix):
        passes = trust >= method.weights.threshold
        if chooses_pixels(method):
            passes &= valid
    else:
        assert isinstance(method, UniMatch)
        passes = valid & (trust >= method.consistency.weights.threshold)
    return Targets(jnp.argmax(probabilities, axis=-1), trust, passes)


def _learn_classes(
    method: Method,
    state: TrainState,
    batch: Batch,
    classes: Int[Array, "B H W"],
    passes: Bool[Array, "B H W"],
) -> tuple[TrainState, Metrics]:
    """Takes a step in which these are the targets, and this is the mask."""
    if isinstance(method, Adversarial):
        return _GivenTargets(**vars(method), classes=classes, passes=passes).step(state, batch)
    logits = jnp.where(passes[..., None], jax.nn.one_hot(classes, method.generator.num_classes), 0)
    if isinstance(method, CutMix):
        given = jax.nn.softmax(LOGIT_OF_CERTAINTY * logits)
        return _GivenProbabilities(**vars(method), given=given).step(state, batch)
    assert isinstance(method, UniMatch)
    generator = _GivenLogits(**vars(method.generator), given=LOGIT_OF_CERTAINTY * logits)
    return dataclasses.replace(method, generator=generator).step(state, batch)


@dataclasses.dataclass(frozen=True)
class _GivenTargets(Adversarial):
    """The method with other targets of self-training: `classes` where `passes`."""

    classes: Int[Array, "B H W"] | None = None
    passes: Bool[Array, "B H W"] | None = None

    def pseudo_labels(
        self, forward: Forward, not_filled: Bool[Array, "B H W"] | None
    ) -> tuple[Int[Array, "B H W"], Bool[Array, "B H W"]]:
        """See `Adversarial`."""
        assert self.classes is not None
        assert self.passes is not None
        return self.classes, self.passes


@dataclasses.dataclass(frozen=True)
class _GivenLogits(Segmenter):
    """G, whose logits in evaluation are given: a method's step takes its targets from them."""

    given: Float[Array, "B H W C"] | None = None

    def logits(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """See `Segmenter`."""
        assert self.given is not None
        return self.given


@dataclasses.dataclass(frozen=True)
class _GivenProbabilities(CutMix):
    """CutMix, whose teacher's probabilities are given."""

    given: Float[Array, "B H W C"] | None = None

    def teach(self, state: TrainState, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W C"]:
        """See `CutMix`."""
        assert self.given is not None
        return self.given
