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
from sassn_jax.methods.halves import images_by_kind, interleave, separate
from sassn_jax.methods.method import Method
from sassn_jax.methods.photometric import from_rgb, photometric, to_rgb
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter, in_pieces
from sassn_jax.methods.state import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.methods.teacher import Teacher
from sassn_jax.models.classifier import Classifier
from sassn_jax.optimizers import classifier_optimizer, cosine_schedule

PART = "classifier"  # the name under which an export keeps the teacher
PUBLISHED_BATCH = 16 + 80  # labelled and unlabelled images a step, for the published rates


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(Settings):
    """The numbers of the classifier.

    Attributes:
      lr: learning rate of SGD with Nesterov's momentum at step 0, for `PUBLISHED_BATCH` images a
        step. It is scaled in proportion to the run's images (Goyal et al. 2017, section 2.1).
      final_lr: the learning rate at the last step, scaled likewise. The schedule is a cosine.
      weight_decay: on all parameters that are trained.
      ema: the decay of the moving average, see `Teacher`.
      consistency: weight of the distance from the teacher at the end of the ramp.
      burn_in: share of the run's steps in which that weight is 0.
      ramp: share of the run's steps in which it then grows linearly.
      threshold: a class with a lower probability is predicted not to occur.
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

    The classifier, a student, learns which classes occur in the labels, and to agree with its
    moving average, the teacher. The student sees images with jittered colours, some of them
    blurred; the teacher sees the images themselves, in evaluation mode. Running statistics are
    averaged like parameters. `accumulation` cuts the student's batch as it does G's. The published
    code differs:

    - the student also sees the labelled images unchanged, and they take no part in the consistency;
    - the teacher normalizes by the statistics of its batch;
    - the branch is trained by itself, with its own batches;
    - it sees whole images at 320x320 pixels, in training and in prediction. Here it sees what G
      sees: crops in training, and an image with its padding or a window of it in prediction, in
      which a class of the image may be missing.

    All of the classifier is trained, normalization included, unless `model.norm` is `frozen`.

    Attributes:
      s4gan: the low-level branch.
      classifier: the student's network and the teacher's.
      classifier_rate: the student's learning rate by step.
      classifier_optimizer: of the student's parameters, at this rate.
      settings: of the two.
      normalize: the normalization of the images, which is undone before colours are jittered.
      num_steps: of the run.
    """

    SETTINGS = (S4GANWeights, ClassifierSettings)
    unlabeled_from = 0
    s4gan: S4GAN
    classifier: Classifier
    classifier_rate: optax.Schedule
    classifier_optimizer: optax.GradientTransformation
    settings: ClassifierSettings
    normalize: Normalize
    num_steps: int

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Mittal":
        """See `Method`."""
        model, settings = config.model, config.settings_of(ClassifierSettings)
        norm = "frozen" if model.norm == "frozen" else "batch"  # published: all of it is trained
        rate_scale = 2 * config.batch_size / PUBLISHED_BATCH
        schedule = cosine_schedule(
            rate_scale * settings.lr, rate_scale * settings.final_lr, config.num_steps
        )
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
            classifier_rate=schedule,
            classifier_optimizer=classifier_optimizer(
                schedule=schedule,
                weight_decay=settings.weight_decay,
                train_norm=norm == "batch",
            ),
            settings=settings,
            normalize=config.image,
            num_steps=config.num_steps,
        )

    @property
    def teacher(self) -> Teacher:
        """How the teacher follows the student."""
        return Teacher(self.settings.ema, warm_up=True)

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
        # A copy of what G has too: a step reuses the memory of every array of the state.
        student = jax.tree.map(jnp.copy, variables)
        classifier = NetworkState.create(self.classifier_optimizer, student)
        return state.replace(classifier=classifier, teacher=self.teacher.init(student))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates G, D, the student and the teacher from the same batch."""
        assert state.classifier is not None
        assert state.teacher is not None
        new, metrics = self.s4gan.step(state, batch)
        (loss, (collections, classifier_metrics)), gradients = jax.value_and_grad(
            self.classifier_objective, has_aux=True
        )(state.classifier.params, state, batch)
        classifier, health = state.classifier.learn(
            "classifier", self.classifier_optimizer, loss, gradients, collections
        )
        teacher = self.teacher.update(
            state.teacher, classifier.variables, state.step, health["skipped/classifier"] > 0
        )
        new = new.replace(classifier=classifier, teacher=teacher)
        return new, metrics | classifier_metrics | health

    def classifier_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Classification loss on labelled images, and consistency with the teacher on all images.

        Returns:
          The objective; and the student's new collections, and metrics.
        """
        by_kind = images_by_kind(batch)
        images, kinds = interleave(by_kind), len(by_kind)
        assert state.classifier is not None
        assert state.teacher is not None
        rng = jax.random.fold_in(state.step_rng, 1)
        colors = photometric(rng, to_rgb(images, self.normalize))
        perturbed = from_rgb(colors, self.normalize)

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
        """Returns the weight of the consistency at a step: 0, then a linear ramp, then constant."""
        settings = self.settings
        past = step - settings.burn_in * self.num_steps
        ramp = max(1.0, settings.ramp * self.num_steps)
        return settings.consistency * jnp.clip(past / ramp, 0, 1)

    def own_learning_rates(self, step: int) -> dict[str, float]:
        """See `Method`."""
        return {"classifier": float(self.classifier_rate(step))}

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
        """Returns class probabilities, 0 for classes that the teacher predicts not to occur.

        The teacher sees the same array as G: an image with its padding, or a window of it.
        """
        logits = self.generator.logits(variables, images)
        teacher = {name: tree[PART] for name, tree in variables.items()}
        class_logits: Any = self.classifier.apply(teacher, images, train=False)
        occurring = jax.nn.sigmoid(class_logits) >= self.settings.threshold
        return filtered_softmax(logits, occurring)


def classification_loss(
    logits: Float[Array, "B C"], labels: Int[Array, "B H W"], ignore_label: int = 255
) -> Float[Array, ""]:
    """Binary cross entropy of each class: whether it occurs in an image's labels.

    A label that is neither a class nor `ignore_label` stands for no class. In an image that has
    only such labels, no class occurs.

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


def filtered_softmax(
    logits: Float[Array, "B H W C"], occurring: Bool[Array, "B C"]
) -> Float[Array, "B H W C"]:
    """Softmax over the classes that occur in an image; over all classes if none does.

    The published code multiplies the logits of the other classes by 0, which leaves them above
    negative logits.
    """
    occurring = occurring | ~jnp.any(occurring, axis=-1, keepdims=True)
    return jax.nn.softmax(jnp.where(occurring[:, None, None], logits, -jnp.inf))
