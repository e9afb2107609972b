"""Checkpoints of a run that goes on although one of them cannot be written."""

from collections.abc import Callable, Mapping, Sequence

import jax

from sassn_jax.data import BatchIterator
from sassn_jax.errors import UnfitError
from sassn_jax.methods import TrainState
from sassn_jax.training.checkpoint import Checkpoints


class Saving:
    """Saves checkpoints. Where one cannot be written, as on a full disk, the next one may be.

    A failure is told as soon as it is known, and once until a checkpoint is written again. In a run
    of several processes it is an error, since some of them may have saved the state.
    """

    def __init__(self, checkpoints: Checkpoints, say: Callable[[str], None]):
        """Takes a function that prints a line."""
        self._checkpoints, self._say = checkpoints, say
        self._fails = False

    def save(
        self,
        state: TrainState,
        batches: BatchIterator,
        miou: float | None,
        unlogged: Sequence[Mapping[str, float]],
        fault: str,
        *,
        must: bool,
    ) -> None:
        """Saves a state, see `Checkpoints.save`: in the background, unless it must be saved.

        Raises:
          UnfitError: if it must be saved, and cannot be.
        """
        self._attempt(lambda: self._checkpoints.check(wait=True), must=False)
        self._attempt(
            lambda: self._checkpoints.save(state, batches, miou, unlogged, fault), must=must
        )
        if must:
            self._attempt(lambda: self._checkpoints.check(wait=True), must=True)

    def score(self, step: int, miou: float, *, must: bool) -> None:
        """Writes an mIoU into the checkpoint of a step, see `Checkpoints.score`.

        Raises:
          UnfitError: if it must be written, and cannot be.
        """
        try:
            self._checkpoints.score(step, miou)
        except UnfitError as error:
            if must or jax.process_count() > 1:
                raise
            self._say(f"{error}; the run goes on, and step {step} cannot become the best one")

    def check(self) -> None:
        """Tells of what has become of the last checkpoint, if that is known; waits for nothing."""
        self._attempt(self._checkpoints.check, must=False)

    def _attempt(self, action: Callable[[], bool | None], *, must: bool) -> None:
        try:
            is_written = action()
        except UnfitError as error:
            if must or jax.process_count() > 1:
                raise
            self._checkpoints.clear()
            if not self._fails:
                self._say(
                    f"{error}; the run goes on and tries it again; until then, step "
                    f"{self._checkpoints.latest_step} is the last that is saved"
                )
            self._fails = True
        else:
            if is_written and self._fails:
                self._say("checkpoints are written again")
                self._fails = False
