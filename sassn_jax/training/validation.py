"""Scoring of the validation split while a run goes on."""

import jax
import numpy as np

from sassn_jax import methods, processes
from sassn_jax.evaluation import PaddedBatch, evaluate
from sassn_jax.methods import TrainState
from sassn_jax.methods.state import without_optimizers
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.programs import jit_by_shape
from sassn_jax.training import parallel
from sassn_jax.training.album import Album
from sassn_jax.training.attention_maps import with_projections
from sassn_jax.training.faults import Faults
from sassn_jax.training.progress import Reporter
from sassn_jax.training.setup import Setup
from sassn_jax.training.stopping import Stopping
from sassn_jax.training.summaries import AnyWriter
from sassn_jax.training.workdir import Workdir


class _LeftError(Exception):
    """An evaluation is not finished, since the run is to stop."""


class Validation:
    """Scores the validation split of a run, and logs its scores and pictures."""

    def __init__(
        self,
        setup: Setup,
        workdir: Workdir,
        writer: AnyWriter,
        reporter: Reporter,
        faults: Faults,
        stopping: Stopping,
    ):
        """Compiles nothing yet: that happens at the first call."""
        self._setup, self._workdir, self._writer = setup, workdir, writer
        self._reporter, self._faults, self._stopping = reporter, faults, stopping
        self._predict = jit_by_shape(with_projections(setup.method.predict))
        self._album = Album(setup, writer, self._predict)

    def run(self, step: int, state: TrainState, batch: methods.Batch) -> float | None:
        """Scores a state, and keeps the score of the last step in `eval_val.json`.

        Args:
          step: that has been taken.
          state: after the step.
          batch: that the step was taken with, for the pictures.

        Returns:
          The mIoU. None if the run is to stop: then the rest of the images is left, and nothing is
          logged.

        Raises:
          InputError: if more images cannot be read than `config.max_unreadable` allows.
        """
        source, info = self._setup.dataset.splits["val"], self._setup.dataset.info
        done = 0

        def look(batch: PaddedBatch, probabilities: jax.Array) -> None:
            nonlocal done
            if self._stopping.requested_alone:
                raise _LeftError
            done += len(batch.indices)
            self._reporter.values(step, {"images validated": done})
            if processes.is_first():
                self._album.take(state, batch, probabilities)

        state = parallel.local_copy(without_optimizers(state), self._setup.mesh)
        try:
            matrix = evaluate(
                lambda variables, images: self._predict(variables, images)[0],
                self._setup.method.inference_variables(state),
                source,
                info,
                normalize=self._setup.config.image,
                batch_size=self._setup.config.eval_batch_size,
                inference=self._setup.config.eval,
                on_batch=look,
                on_unreadable=self._faults.left_out,
            )
        except _LeftError:
            return None
        left_out = self._faults.take_left_out()
        counted = {"val/left_out": float(len(left_out))} if left_out else {}
        self._writer.scalars(step, _scalars(matrix, info.class_names) | counted)
        if processes.is_first():
            self._album.write(step, state, matrix, batch)
        miou = matrix.miou()
        occurring = int(np.isfinite(matrix.iou()).sum())
        of_some = f" of the {occurring} classes that occur" if occurring < info.num_classes else ""
        of_all = f"; without {len(left_out)} of {len(source)} images, which cannot be read"
        self._reporter.say(
            f"step {step}: val mIoU {miou:.4f}{of_some}, "
            f"pixel accuracy {matrix.pixel_accuracy():.4f}{of_all if left_out else ''}"
        )
        if step == self._setup.config.num_steps and processes.is_first():
            summary = matrix.summary(info.class_names)
            scores = {"split": "val", "step": step, **summary, "left_out": left_out}
            self._workdir.write_scores(scores)
        return miou


def _scalars(matrix: ConfusionMatrix, class_names: tuple[str, ...]) -> dict[str, float]:
    """Returns what TensorBoard shows of an evaluation."""
    per_class = dict(zip(class_names, matrix.iou(), strict=True))
    return {
        "val/miou": matrix.miou(),
        "val/pixel_accuracy": matrix.pixel_accuracy(),
        **{f"val_iou/{name}": float(value) for name, value in per_class.items()},
    }
