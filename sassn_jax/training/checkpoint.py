"""Checkpoints of the state and the position in the data: the latest, and the best by mIoU."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sassn_jax.data import BatchIterator
from sassn_jax.errors import InputError, UnfitError
from sassn_jax.methods import TrainState
from sassn_jax.training.workdir import Workdir

# Orbax looks for its files with an unescaped glob. TensorStore takes a backslash for a slash, and a
# folder whose name ends in a colon for the scheme of a URL; it takes no bytes that are not UTF-8,
# which are surrogates in Python.
MISREAD = re.compile(r"[*?\[\]\\\ud800-\udfff]|:(/|$)")
UNLOGGED = "unlogged"  # the name of these metrics in a checkpoint
OPEN_FILES = Path("/proc/self/fd")  # of this process, by number, on Linux


class Checkpoints:
    """The checkpoints of a workdir, written in the background, whole or not at all.

    The latest two are kept, and the one with the best mIoU. The first one in a new folder is read
    back at once and compared, so that no run relies on a folder from which nothing can be restored.
    Use as a context manager: leaving it waits for what is still being written.
    """

    def __init__(self, workdir: Workdir, *, read_only: bool = False):
        """Opens the folder of checkpoints; makes it if it does not exist, unless `read_only`."""
        self.directory = workdir.checkpoints.absolute()
        self._resources = contextlib.ExitStack()
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        self._alias = self._resources.enter_context(_readable_alias(self.directory))
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self._alias,
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
        with self._resources:
            if kind is None:
                with self._failing("written"):
                    self._manager.close()
            else:
                # What stopped the run is what the user should hear of.
                with contextlib.suppress(Exception):
                    self._manager.close()

    @contextlib.contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        """Turns any error of Orbax into one line that names the folder."""
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

    def healthy_step(self, before: int) -> int | None:
        """Steps taken at the latest checkpoint from before a step, None where there is none."""
        return max((step for step in self._manager.all_steps() if step < before), default=None)

    def has_scores(self, step: int) -> bool:
        """Tells whether the checkpoint of a step was saved with its mIoU."""
        with self._failing("read"):
            return bool(self._manager.metrics(step))

    def read_unlogged(self, step: int) -> list[dict[str, float]]:
        """Returns the `unlogged` that the checkpoint of a step was saved with."""
        with self._failing("read"):
            return self._manager.metadata(step).custom_metadata.get(UNLOGGED, [])

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
          UnfitError: if it cannot be written.
        """
        with self._failing("written"):
            self._manager.wait_until_finished()

    def replace(self, state: TrainState, batches: BatchIterator, metrics: dict[str, float]) -> None:
        """Saves a state anew, with its mIoU, where it was saved without one.

        The former checkpoint is removed before, since there can be one of a step. Where it is the
        only one, nothing is done.
        """
        with self._failing("written"):
            self._manager.wait_until_finished()
            if len(self._manager.all_steps()) == 1:
                return
            self._manager.delete(int(state.step))
        self.save(state, batches, metrics)

    def save(
        self,
        state: TrainState,
        batches: BatchIterator,
        metrics: dict[str, float] | None,
        unlogged: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Saves a state, the position in its data, and its mIoU if it has just been evaluated.

        `unlogged` holds the metrics of each step since the last log line, if there are any.

        Where there was no checkpoint, the call waits until this one is written, and compares what
        can be read of it with what was to be saved, bit by bit.

        Raises:
          UnfitError: if this checkpoint, or the one before in the background, cannot be written; or
            if it is the first one and does not read back as it was. It is removed then.
        """
        is_first = self.latest_step is None
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), batches=grain.checkpoint.CheckpointSave(batches)
        )
        with self._failing("written"):
            self._manager.save(
                int(state.step),
                args=args,
                metrics=metrics,
                custom_metadata={UNLOGGED: list(unlogged)},
            )
            if is_first:
                self._manager.wait_until_finished()
        if is_first:
            self._prove(state, batches)

    def _prove(self, state: TrainState, batches: BatchIterator) -> None:
        """Checks that the checkpoint of this state can be restored; removes it if it cannot."""
        step, position = int(state.step), _Position()
        try:
            restored = self.restore(state, step, position)
            differing = _first_difference(state, restored)
            if differing is None and position.get_state() != batches.get_state():
                differing = "the position in the data"
            if differing is not None:
                raise UnfitError(
                    f"{self.directory}: {differing} does not read back from a checkpoint as it was "
                    "written; choose a workdir on another file system"
                )
        except UnfitError:  # a Ctrl-C is none, and leaves the checkpoint
            with contextlib.suppress(Exception):
                self._manager.delete(step)
            raise

    def restore(
        self, state: TrainState, step: int, batches: "BatchIterator | _Position | None" = None
    ) -> TrainState:
        """Returns the saved state of a step, and moves `batches` to their position at that step.

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
        """Raises an error that names the first array whose shape is not the saved one."""
        path = self._alias / str(step) / "state"
        saved = _shapes(ocp.StandardCheckpointHandler().metadata(path).tree)
        wanted = _shapes(state.replace(rng=None))  # which is saved as plain numbers
        for name, shape in wanted.items():
            if saved.get(name, shape) != shape:
                raise InputError(
                    f"{self.directory}: holds another network: {name} is {saved[name]} there and "
                    f"would be {shape}; the number of classes and the fields under model must be "
                    "those of the run"
                )


@contextlib.contextmanager
def _readable_alias(directory: Path) -> Iterator[Path]:
    """Gives a path to a folder that Orbax and TensorStore do not misread.

    Where the folder's own path would be misread, Linux knows it by the number of an open file too;
    that name is gone when the process is. On other systems it is left as it is, and the first
    checkpoint shows that nothing can be read.
    """
    if not (MISREAD.search(str(directory)) and directory.is_dir() and OPEN_FILES.is_dir()):
        yield directory
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield OPEN_FILES / str(descriptor)
    finally:
        os.close(descriptor)


class _Position:
    """Reads the position in the data from a checkpoint; there are no batches to move."""

    def __init__(self) -> None:
        self._state = b""

    def get_state(self) -> bytes:
        return self._state

    def set_state(self, state: bytes) -> None:
        self._state = state

    def start_prefetch(self) -> None:
        """Nothing is fetched. Grain calls this after `set_state`."""


def _first_difference(saved: TrainState, restored: TrainState) -> str | None:
    """The dotted name of the first array whose bits differ, None where there is none."""
    names = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(saved)
    ]
    for name, *pair in zip(names, jax.tree.leaves(saved), jax.tree.leaves(restored), strict=True):
        a, b = map(_bits, pair)
        if (a.dtype, a.shape) != (b.dtype, b.shape) or a.tobytes() != b.tobytes():
            return name
    return None


def _bits(x: jax.Array) -> np.ndarray:
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a tree by dotted name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
