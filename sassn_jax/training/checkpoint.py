"""Checkpoints of state and data position together: the latest, and the best by mIoU."""

from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sassn_jax.data import BatchIterator
from sassn_jax.methods import TrainState


class Checkpoints:
    """The checkpoints of a workdir, written in the background, whole or not at all.

    The latest two are kept, and the one with the best mIoU. Use as a context manager: leaving it
    waits for what is still being written.
    """

    def __init__(self, workdir: Path):
        """Opens `workdir/checkpoints`, which is made if it is not there."""
        self.directory = (workdir / "checkpoints").absolute()
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(2),
                        policies.BestN(
                            n=1,
                            get_metric_fn=lambda metrics: metrics["miou"],
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                best_fn=lambda metrics: metrics["miou"],
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Steps taken at the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Steps taken at the checkpoint with the best mIoU, None where none was evaluated."""
        return self._manager.best_step()

    def save(
        self, state: TrainState, batches: BatchIterator, metrics: dict[str, float] | None
    ) -> None:
        """Saves a state with the position of its data, and `miou` if it has just been evaluated."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), batches=grain.checkpoint.CheckpointSave(batches)
            ),
            metrics=metrics,
        )

    def restore(self, state: TrainState, batches: BatchIterator, step: int) -> TrainState:
        """Returns the saved state of a step and moves `batches` to where they were."""
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(
                    jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
                ),
                batches=grain.checkpoint.CheckpointRestore(batches),
            ),
        )
        return restored["state"]

    def restore_state(self, state: TrainState, step: int) -> TrainState:
        """Returns the saved state of a step."""
        abstract: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return self._manager.restore(step, args=args)["state"]
