"""Methods that are watched as they learn, two of which are told what no method can know."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.diagnosis import shares, teaching
from experiments.diagnosis.teaching import Targets
from sassn_jax.config import Config
from sassn_jax.methods import METHODS, Batch, Method, TrainState, Variables
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import Metrics
from sassn_jax.recipes import METHOD_FIELDS


@dataclasses.dataclass(frozen=True)
class Watched(Method):
    """Any method of `teaching.KINDS`, with the metrics of `shares.count`.

    Attributes:
      PREFIX: what its name in a config begins with; the name of `inner` follows.
      inner: the method itself.
    """

    PREFIX: ClassVar[str] = "watched_"
    takes_valid = True
    inner: Method

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Watched":
        """See `Method`."""
        kind = METHODS[config.method.removeprefix(cls.PREFIX)]
        return cls(kind.from_config(config, num_classes, ignore_label))

    @property
    def generator(self) -> Segmenter:
        """See `Method`."""
        return self.inner.generator

    @property
    def unlabeled_from(self) -> int | None:
        """See `Method`."""
        return self.inner.unlabeled_from

    @property
    def start_field(self) -> str:
        """See `Method`."""
        return self.inner.start_field

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """See `Method`."""
        return self.inner.init(rng, batch)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Takes a step, and looks at what teaches it."""
        if "unlabeled" not in batch:
            return self.inner.step(state, batch)
        targets = self.targets(state, batch)
        new, metrics = self.learn(state, batch, targets)
        labels, num_classes = batch["unlabeled"]["label"], self.generator.num_classes
        return new, metrics | shares.count(targets, labels, num_classes)

    def targets(self, state: TrainState, batch: Batch) -> Targets:
        """Returns what the unlabelled images of a batch are taken for."""
        return teaching.own_targets(self.inner, state, batch)

    def learn(
        self, state: TrainState, batch: Batch, targets: Targets
    ) -> tuple[TrainState, Metrics]:
        """Takes a step with these targets."""
        return self.inner.step(state, batch)

    def inference_variables(self, state: TrainState) -> Variables:
        """See `Method`."""
        return self.inner.inference_variables(state)

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"] | None:
        """See `Method`."""
        return self.inner.confidence(state, probabilities)


class RightPixels(Watched):
    """The method if it knew which of its predictions are right: only these teach."""

    PREFIX = "right_pixels_"

    def learn(
        self, state: TrainState, batch: Batch, targets: Targets
    ) -> tuple[TrainState, Metrics]:
        """See `Watched`."""
        return teaching.learn_right_pixels(self.inner, state, batch, targets)


class GoodTeacher(Watched):
    """The method if a network of the same shape that has seen all labels taught it.

    `TrainState.teacher` holds that network as `all_labels`, and the teacher of `inner`, if it has
    one, as `own`.

    Attributes:
      TEACHER: variables of that network.
    """

    PREFIX = "good_teacher_"
    TEACHER: ClassVar[Variables]

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """See `Method`."""
        # Copies, because a step reuses the memory of every array of the state that it is given.
        return _with_teacher(self.inner.init(rng, batch), jax.tree.map(jnp.array, self.TEACHER))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """See `Watched`."""
        if "unlabeled" in batch:
            return super().step(state, batch)
        new, metrics = self.inner.step(_without_teacher(state), batch)
        return _with_teacher(new, _teacher(state)), metrics

    def targets(self, state: TrainState, batch: Batch) -> Targets:
        """See `Watched`."""
        return teaching.targets_of(_teacher(state), self.inner, _without_teacher(state), batch)

    def learn(
        self, state: TrainState, batch: Batch, targets: Targets
    ) -> tuple[TrainState, Metrics]:
        """See `Watched`."""
        teacher = _teacher(state)
        new, metrics = teaching.learn_from(
            teacher, self.inner, _without_teacher(state), batch, targets
        )
        return _with_teacher(new, teacher), metrics

    def inference_variables(self, state: TrainState) -> Variables:
        """See `Method`."""
        return self.inner.inference_variables(_without_teacher(state))


def taught_by(teacher: Variables) -> type[GoodTeacher]:
    """Returns the kind whose `TEACHER` this is."""

    class Taught(GoodTeacher):
        TEACHER = teacher

    return Taught


def _teacher(state: TrainState) -> Variables:
    assert state.teacher is not None
    teacher: Variables = state.teacher["all_labels"]
    return teacher


def _with_teacher(state: TrainState, teacher: Variables) -> TrainState:
    own: dict[str, Any] = {} if state.teacher is None else {"own": state.teacher}
    return state.replace(teacher={"all_labels": teacher, **own})


def _without_teacher(state: TrainState) -> TrainState:
    assert state.teacher is not None
    return state.replace(teacher=state.teacher.get("own"))


def register(kind: type[Watched]) -> None:
    """Adds a kind of each method of `teaching.NAMES` to the methods that a config can name."""
    for name in teaching.NAMES:
        METHODS[kind.PREFIX + name] = kind
        METHOD_FIELDS[kind.PREFIX + name] = METHOD_FIELDS.get(name, {})
