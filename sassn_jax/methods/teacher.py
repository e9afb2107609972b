"""A teacher: the moving average of a student (Tarvainen and Valpola 2017)."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.methods.state import Variables, unless


@dataclasses.dataclass(frozen=True)
class Teacher:
    """How a teacher follows a student; its variables are `TrainState.teacher`.

    Attributes:
      decay: the share of the teacher that stays in a step; the rest is the student's.
      warm_up: whether the teacher is the plain mean of all students so far, the initial one
        included, until that mean keeps the share `decay`. In short runs, too, it has then learnt.
    """

    decay: float
    warm_up: bool = False

    def init(self, student: Variables) -> Variables:
        """Returns a teacher that is equal to the student."""
        # Copies, because a step reuses the memory of every array of the state that it is given.
        return jax.tree.map(jnp.copy, student)

    def update(
        self,
        teacher: Variables,
        student: Variables,
        step: Int[Array, ""],
        skipped: Bool[Array, ""],
    ) -> Variables:
        """Returns the teacher one step on.

        Args:
          teacher: before the step.
          student: after the step.
          step: the number of steps before this one.
          skipped: whether the student has not learned in this step; the teacher stays then.
        """
        stays: float | Float[Array, ""] = self.decay
        if self.warm_up:
            stays = jnp.minimum(1 - 1 / (step + 2), self.decay)
        followed: Variables = optax.incremental_update(teacher, student, stays)
        return unless(skipped, followed, teacher)
