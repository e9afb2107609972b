"""Checkpoints of state and data position together: the latest, and the best by mIoU."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sassn_jax.data import BatchIterator
from sassn_jax.errors import InputError, UnfitError
from sassn_jax.methods import TrainState


class Checkpoints:
    """The checkpoints of a workdir, written in the background, whole or not at all.

    The latest two are kept, and the one with the best mIoU. Use as a context manager: leaving it
    waits for what is still being written.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        """Opens `workdir/checkpoints`, which is made if it is not there, unless `read_only`."""
        self.directory = (workdir / "checkpoints").absolute()
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                read_only=read_only,
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

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is None:
            with self._failing("written"):
                self._manager.close()
        else:
            # What stopped the run is what the user should hear of.
            with contextlib.suppress(Exception):
                self._manager.close()

    @contextlib.contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        """Turns what Orbax raises, of whatever type, into a line about the folder."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UnfitError(
                f"{self.directory}: checkpoints cannot be {verb} ({reason})"
            ) from error

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
        """Saves a state with the position of its data, and `miou` if it has just been evaluated.

        Raises:
          UnfitError: if this checkpoint, or the one before in the background, cannot be written.
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), batches=grain.checkpoint.CheckpointSave(batches)
        )
        with self._failing("written"):
            self._manager.save(int(state.step), args=args, metrics=metrics)

    def restore(
        self, state: TrainState, step: int, batches: BatchIterator | None = None
    ) -> TrainState:
        """Returns the saved state of a step and moves `batches`, if given, to where they were.

        Args:
          state: arrays of the shapes and on the devices that are wanted, or `ShapeDtypeStruct`s.
          step: one of the checkpoints.
          batches: of the run.

        Raises:
          InputError: if the checkpoint is damaged, or of another network.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(abstract)}
        if batches is not None:
            items["batches"] = grain.checkpoint.CheckpointRestore(batches)
        with self._failing("read"):
            try:
                return self._manager.restore(step, args=ocp.args.Composite(**items))["state"]
            except ValueError:  # which does not name the array
                self._check_shapes(abstract, step)
                raise

    def _check_shapes(self, state: TrainState, step: int) -> None:
        """Names the first array that is wanted in another shape than it was saved in."""
        path = self.directory / str(step) / "state"
        saved = _shapes(ocp.StandardCheckpointHandler().metadata(path).tree)
        wanted = _shapes(state.replace(rng=None))  # which is saved as plain numbers
        for name, shape in wanted.items():
            if saved.get(name, shape) != shape:
                raise InputError(
                    f"{self.directory}: holds another network: {name} is {saved[name]} there and "
                    f"would be {shape}; the number of classes and the fields under model must be "
                    "those of the run"
                )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a tree by dotted name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
