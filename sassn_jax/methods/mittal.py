"""s4GAN beside a classifier of whole images that takes part in prediction.

Mittal, Tatarchenko and Brox 2019, "Semi-Supervised Semantic Segmentation with High- and Low-level
Consistency": the low-level branch is `S4GAN`, the high-level one the multi-label mean teacher here.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from sassn_jax import losses
from sassn_jax.config import Config, Settings
from sassn_jax.data import Normalize
from sassn_jax.fields import NotNegative, Positive, Probability
from sassn_jax.methods.halves import interleave, separate
from sassn_jax.methods.method import Method
from sassn_jax.methods.photometric import from_rgb, photometric, to_rgb
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter, in_pieces
from sassn_jax.methods.state import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.models.classifier import Classifier
from sassn_jax.optimizers import classifier_optimizer

PART = "classifier"  # what the teacher is among the parts of the segmentation network
PUBLISHED_BATCH = 16 + 80  # labelled and unlabelled images a step, which the learning rates are for


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(Settings):
    """The numbers of the classifier.

    Attributes:
      lr: learning rate at step 0, of SGD with Nesterov's momentum, for `PUBLISHED_BATCH` images a
        step; with fewer it is lower in proportion (Goyal et al. 2017, section 2.1).
      final_lr: that at the last step, in proportion too; a cosine leads there.
      weight_decay: on everything trained.
      ema: how much of the teacher stays in a step, from a thousand steps on.
      consistency: weight of the distance from the teacher, once it is ramped up.
      burn_in: share of the run's steps in which that weight is 0.
      ramp: share in which it then grows, evenly.
      threshold: probability below which a class is taken not to occur.
    """

    GROUP = "classifier"
    lr: Positive = 3e-2
    final_lr: NotNegative = 1e-4
    weight_decay: NotNegative = 1e-5
    ema: Probability = 0.999
    consistency: NotNegative = 1.0
    burn_in: Probability = 0.1
    ramp: Probability = 0.5
    threshold: Probability = 0.2


@dataclasses.dataclass(frozen=True)
class Mittal(Method):
    """Two branches that learn from the same batch independently, and meet in `predict`.

    The classifier learns which classes the labels have, and to agree with its own moving average,
    the teacher. The student sees images with jittered colours, some blurred, the teacher plain ones
    as in evaluation. Statistics of normalization are averaged like parameters. The student takes a
    batch in pieces as G does. The published code differs:

    - the student sees labelled images plain too, and they are not part of the consistency;
    - the teacher normalizes by batch statistics of its own;
    - the branch has batches and a run of its own;
    - it sees whole images, squeezed to 320x320 pixels, in training and in prediction, where here it
      sees what G does: crops, and in prediction an image with its padding, which may hide a class
      from it or show it one.

    Everything in the classifier is trained, normalization included, unless `model.norm` is frozen.

    Attributes:
      s4gan: the low-level branch.
      classifier: the student's network and the teacher's.
      classifier_optimizer: of the student's parameters.
      settings: of the two.
      normalize: the normalization of the images, which is undone before colours are jittered.
      num_steps: of the run.
    """

    SETTINGS = (S4GANWeights, ClassifierSettings)
    unlabeled_from = 0
    s4gan: S4GAN
    classifier: Classifier
    classifier_optimizer: optax.GradientTransformation
    settings: ClassifierSettings
    normalize: Normalize
    num_steps: int

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Mittal":
        """See `Method`."""
        model, settings = config.model, config.settings_of(ClassifierSettings)
        norm = "frozen" if model.norm == "frozen" else "batch"  # the published one trains all of it
        rate_scale = 2 * config.batch_size / PUBLISHED_BATCH
        return cls(
            s4gan=S4GAN.from_config(config, num_classes, ignore_label),
            classifier=Classifier(
                num_classes=num_classes,
                backbone=model.backbone,
                norm=norm,
                layout=model.layout,
                dtype=model.dtype,
                remat=model.remat,
            ),
            classifier_optimizer=classifier_optimizer(
                learning_rate=rate_scale * settings.lr,
                final_learning_rate=rate_scale * settings.final_lr,
                num_steps=config.num_steps,
                weight_decay=settings.weight_decay,
                train_norm=norm == "batch",
            ),
            settings=settings,
            normalize=config.image,
            num_steps=config.num_steps,
        )

    @property
    def generator(self) -> Segmenter:
        """The segmentation network of the low-level branch."""
        return self.s4gan.generator

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0. A file of weights starts the classifier's trunk too."""
        state = self.s4gan.init(rng, batch)
        images = jnp.asarray(batch["labeled"]["image"][:1])
        init = jax.jit(functools.partial(self.classifier.init, train=False))
        variables = init(jax.random.fold_in(rng, 2), images)
        if self.generator.pretrained is not None:
            variables = {
                name: {**tree, "backbone": state.generator.variables[name]["backbone"]}
                for name, tree in variables.items()
            }
        # Copies, because a step reuses the memory of every array of the state that it is given.
        student, teacher = (jax.tree.map(jnp.copy, variables) for _ in range(2))
        classifier = NetworkState.create(self.classifier_optimizer, student)
        return state.replace(classifier=classifier, teacher=teacher)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates G, D, the student and the teacher from the same batch."""
        assert state.classifier is not None
        assert state.teacher is not None
        new, metrics = self.s4gan.step(state, batch)
        (_, (collections, classifier_metrics)), gradients = jax.value_and_grad(
            self.classifier_objective, has_aux=True
        )(state.classifier.params, state, batch)
        classifier = state.classifier.apply_gradients(
            self.classifier_optimizer, gradients, collections
        )
        metrics |= classifier_metrics
        metrics["gradient_norm/classifier"] = optax.tree.norm(gradients)
        teacher = follow(state.teacher, classifier.variables, state.step, self.settings.ema)
        return new.replace(classifier=classifier, teacher=teacher), metrics

    def classifier_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Which classes occur, on labelled images, and what the teacher says, on all.

        Returns:
          The objective; and the student's new collections, and metrics.
        """
        images, kinds = interleave(batch)
        assert state.classifier is not None
        assert state.teacher is not None
        rng = jax.random.fold_in(state.step_rng, 1)
        perturbed = self._perturb(rng, images)

        def take(collections: Variables, piece: tuple[Any, Any]) -> tuple[Variables, Any]:
            logits, updates = self.classifier.apply(
                {"params": params, **collections},
                piece[0],
                train=True,
                groups=kinds,
                mutable=["batch_stats"],
            )
            return dict(updates), logits

        collections, student = in_pieces(
            take,
            state.classifier.collections,
            perturbed,
            rng,
            groups=kinds,
            pieces=self.generator.accumulation,
        )
        teacher: Any = self.classifier.apply(state.teacher, images, train=False)
        classification = classification_loss(
            separate(student, kinds)[0], batch["labeled"]["label"], self.generator.ignore_label
        )
        consistency = cosine_distance(student, jax.lax.stop_gradient(teacher))
        weight = self.consistency_weight(state.step)
        objective = classification + weight * consistency
        return objective, (
            collections,
            {
                "loss/classification": classification,
                "loss/consistency": consistency,
                "loss/classifier": objective,
                "classifier/consistency_weight": weight,
            },
        )

    def consistency_weight(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Returns what the consistency counts at a step: 0, then more and more, then all."""
        settings = self.settings
        past = step - settings.burn_in * self.num_steps
        ramp = max(1.0, settings.ramp * self.num_steps)
        return settings.consistency * jnp.clip(past / ramp, 0, 1)

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns G's variables, with the teacher as one more part beside trunk and head.

        An exported file can therefore start another G, which takes the parts that it has.
        """
        assert state.teacher is not None
        return {
            name: {**tree, PART: state.teacher[name]}
            for name, tree in state.generator.variables.items()
        }

    def predict(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """Returns class probabilities; those of classes that the teacher does not see are 0.

        The teacher judges what is given here: an image with its padding, or one window of it.
        """
        logits = self.generator.logits(variables, images)
        teacher = {name: tree[PART] for name, tree in variables.items()}
        class_logits: Any = self.classifier.apply(teacher, images, train=False)
        occurring = jax.nn.sigmoid(class_logits) >= self.settings.threshold
        return filtered_softmax(logits, occurring)

    def _perturb(self, rng: jax.Array, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
        """Jitters and blurs normalized images, and normalizes them again."""
        colours = to_rgb(images, self.normalize)
        return from_rgb(photometric(rng, colours), self.normalize)


def classification_loss(
    logits: Float[Array, "B C"], labels: Int[Array, "B H W"], ignore_label: int = 255
) -> Float[Array, ""]:
    """Binary cross entropy to which classes occur in an image's labels.

    A label that is neither a class nor `ignore_label` stands for no class; an image that has such
    labels alone counts as one in which no class occurs.

    Returns:
      The mean over classes and over images with a label at all, 0 where there is none.
    """
    occurring = jnp.any(labels[..., None] == jnp.arange(logits.shape[-1]), axis=(1, 2))
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, occurring.astype(logits.dtype))
    is_labeled = jnp.any(labels != ignore_label, axis=(1, 2))[:, None]
    return losses.masked_mean(cross_entropy, jnp.broadcast_to(is_labeled, logits.shape))


def cosine_distance(x: Float[Array, "B C"], y: Float[Array, "B C"]) -> Float[Array, ""]:
    """Returns the mean of `1 - cos` of the angles between vectors, here of logits."""
    return jnp.mean(optax.losses.cosine_distance(x, y, epsilon=1e-6))


def follow(teacher: Variables, student: Variables, step: Int[Array, ""], ema: float) -> Variables:
    """Returns the moving average of a network one step on.

    The first ones are plain means of all students so far, the initial one included, so that short
    runs, too, have a teacher that has learnt.

    Args:
      teacher: variables of the average.
      student: variables of the network after the step.
      step: steps taken before this one.
      ema: the share of the teacher that stays, at most.
    """
    stays = jnp.minimum(1 - 1 / (step + 2), ema)
    return optax.incremental_update(student, teacher, 1 - stays)


def filtered_softmax(
    logits: Float[Array, "B H W C"], occurring: Bool[Array, "B C"]
) -> Float[Array, "B H W C"]:
    """Softmax over the classes that occur in an image, over all where none is said to.

    The published code multiplies the logits of the others by 0, with which they still win over
    negative ones.
    """
    occurring = occurring | ~jnp.any(occurring, axis=-1, keepdims=True)
    return jax.nn.softmax(jnp.where(occurring[:, None, None], logits, -jnp.inf))
