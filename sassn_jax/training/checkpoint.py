"""Checkpoints of a run: the latest, and the best by mIoU; found whole by their checksums."""

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Mapping, Sequence

import jax
import orbax.checkpoint as ocp

from sassn_jax import processes
from sassn_jax.data import BatchIterator
from sassn_jax.errors import InputError, UnfitError, UnreadableError
from sassn_jax.methods import TrainState
from sassn_jax.training.alias import readable_alias
from sassn_jax.training.damage import failing, finding_damage
from sassn_jax.training.preserving import Preserved, best_of, last_healthy
from sassn_jax.training.record import Record
from sassn_jax.training.stored import RECORD, STATE, Stored
from sassn_jax.training.workdir import Workdir


class Checkpoints:
    """The checkpoints of a workdir, written in the background, whole or not at all.

    The latest `keep` are kept, the one with the best mIoU, and the last healthy one. Each holds a
    record with a checksum of every array, which is compared when the arrays have been read. The
    first one in a new folder is read back at once, so that no run relies on a folder from which
    nothing can be restored. Use as a context manager: leaving it waits for what is still being
    written.
    """

    def __init__(self, workdir: Workdir, *, keep: int = 2, read_only: bool = False):
        """Opens the folder of checkpoints; makes it if it does not exist, unless `read_only`."""
        self.directory = workdir.checkpoints.absolute()
        self._keep, self._read_only = keep, read_only
        self._is_saving = False  # in the background, when that was last looked at
        self._resources = contextlib.ExitStack()
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        self._alias = self._resources.enter_context(readable_alias(self.directory))
        self._records: dict[int, Record] = {}
        self._manager = self._open()
        for step in self._manager.all_steps():
            # A damaged one is named when it is wanted. Any other error ends the run here: without
            # its record, the best or the last healthy checkpoint would be deleted.
            with contextlib.suppress(UnreadableError):
                self._records[step] = self.stored(step).read_record()

    def _open(self) -> ocp.CheckpointManager:
        with failing(self.directory, "read"):
            return ocp.CheckpointManager(
                self._alias,
                options=ocp.CheckpointManagerOptions(
                    read_only=self._read_only,
                    cleanup_tmp_directories=not self._read_only,  # of a save that was killed
                    preservation_policy=Preserved(self._keep, self._records),
                ),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        with self._resources:
            try:
                with failing(self.directory, "written"):
                    self._manager.close()
            except UnfitError:
                if kind is None:  # otherwise, what stopped the run is what a user should hear of
                    raise
            finally:
                if not self._read_only:
                    self._remove_parts()

    @property
    def steps(self) -> list[int]:
        """Steps taken at each checkpoint, in order."""
        return sorted(self._manager.all_steps())

    @property
    def latest_step(self) -> int | None:
        """Steps taken at the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Steps taken at the checkpoint with the best mIoU, None where none was evaluated."""
        return best_of(self._records, self._manager.all_steps())

    def healthy_step(self, before: float = math.inf) -> int | None:
        """Steps taken at the last healthy checkpoint, and fewer than `before`; None without one."""
        steps = [step for step in self._manager.all_steps() if step < before]
        return last_healthy(self._records, steps)

    @property
    def space(self) -> str:
        """What the latest checkpoint takes on disk, and how many are kept, in words."""
        assert self.latest_step is not None
        size = self.stored(self.latest_step).size()
        return (
            f"a checkpoint takes {size / 1e6:.3g} MB; at most {self._keep + 2} are kept, and one "
            "more while it is written"
        )

    def record(self, step: int) -> Record:
        """Returns what the checkpoint of a step says of itself.

        Raises:
          UnreadableError: if it is damaged.
        """
        return self._records[step] if step in self._records else self.stored(step).read_record()

    def stored(self, step: int) -> Stored:
        """Returns the checkpoint of a step as it is on disk."""
        return Stored(step, self.directory / str(step), self._alias / str(step))

    def is_scored(self, step: int) -> bool:
        """Tells whether the checkpoint of a step was saved with its mIoU, and says so undamaged."""
        return step in self._records and self._records[step].miou is not None

    def check(self, *, wait: bool = False) -> bool:
        """Tells whether the save in the background has ended since the last call.

        Raises:
          UnfitError: if it has ended, and has failed.
        """
        if not self._is_saving or (not wait and self._manager.is_saving_in_progress()):
            return False
        self._is_saving = False
        with failing(self.directory, "written"):
            self._manager.wait_until_finished()
        return True

    def clear(self) -> None:
        """Removes what a save that failed has left: files, and errors that Orbax still holds."""
        with contextlib.suppress(Exception):
            self._manager.close()
        self._remove_parts()
        self._manager = self._open()

    def _remove_parts(self) -> None:
        if jax.process_count() == 1:  # others may still write
            for folder in self._alias.glob("*orbax-checkpoint-tmp*"):
                shutil.rmtree(folder, ignore_errors=True)

    def save(
        self,
        state: TrainState,
        batches: BatchIterator,
        miou: float | None,
        unlogged: Sequence[Mapping[str, float]] = (),
        fault: str = "",
    ) -> None:
        """Saves a state, the position in its data, and its mIoU if it has just been evaluated.

        `unlogged` holds the metrics of each step since the last log line, if there are any; `fault`
        says why the run is not healthy, if it is not.

        Where there was no checkpoint, the call waits until this one is written, and reads it back.

        Raises:
          UnfitError: if this checkpoint, or the one before in the background, cannot be written; or
            if it is the first one and does not read back as it was. It is removed then.
        """
        self.check(wait=True)
        record = Record.of(state, batches, miou, unlogged, fault)
        is_first = not self._manager.all_steps()
        self._records[record.step] = record
        args = ocp.args.Composite(
            **{
                STATE: ocp.args.StandardSave(state),
                RECORD: ocp.args.JsonSave(record.to_json()),
            }
        )
        with failing(self.directory, "written"):
            self._manager.save(record.step, args=args)
            self._is_saving = True
            if is_first:
                self._manager.wait_until_finished()
        if is_first:
            self._prove(state, record.step)

    def score(self, step: int, miou: float) -> None:
        """Writes the mIoU of a state that was saved without it into the record of its checkpoint.

        The file of the record is replaced, and the arrays stay as they are.

        Raises:
          UnfitError: if it cannot be written.
        """
        record = dataclasses.replace(self.record(step), miou=miou)
        with failing(self.directory, "written"):
            if processes.is_first():
                self.stored(step).write_record(record)
        self._records[step] = record

    def _prove(self, state: TrainState, step: int) -> None:
        """Checks that the checkpoint of this state can be restored; removes it if it cannot."""
        try:
            self._restore_together(state, step, None)
        except InputError as error:  # a Ctrl-C is none, and leaves the checkpoint
            with contextlib.suppress(Exception):
                self._manager.delete(step)
            raise UnfitError(
                f"{self.directory}: a checkpoint does not read back as it was written ({error}); "
                "choose a workdir on another file system"
            ) from error

    def restore_latest(
        self, state: TrainState, batches: BatchIterator | None, say: Callable[[str], None]
    ) -> TrainState:
        """Restores the latest checkpoint that is whole, see `restore`.

        Damaged ones after it are set aside: their folders are renamed, as from `65` to
        `damaged_65`. A `read_only` object renames nothing.

        Args:
          state: as for `restore`.
          batches: as for `restore`.
          say: is called with a line for each damaged one.

        Raises:
          InputError: if there are checkpoints but none is whole, which changes nothing; if they are
            of another network.
        """
        damaged: dict[int, UnreadableError] = {}
        for step in reversed(self.steps):
            try:
                restored = self._restore_together(state, step, batches)
            except UnreadableError as error:
                damaged[step] = error
                continue
            for bad, reason in damaged.items():
                aside = "" if self._read_only else f" and set aside as {self._set_aside(bad)}"
                say(f"{reason}{aside}; the checkpoint of step {step} takes its place")
            return restored
        reasons = "; ".join(map(str, damaged.values()))
        raise InputError(
            f"{self.directory}: no checkpoint is whole ({reasons}); choose another workdir, or "
            "remove this folder to begin anew"
        )

    def _restore_together(
        self, state: TrainState, step: int, batches: BatchIterator | None
    ) -> TrainState:
        """Restores a checkpoint as `restore` does; all processes find the same damage.

        Those that can read it would wait in Orbax's restore for ever for one that cannot. So all
        of several processes read it first, each by itself.
        """
        if jax.process_count() == 1:
            return self.restore(state, step, batches)
        self.stored(step).check_whole()
        try:
            return self.restore(state, step, batches)
        except UnreadableError as error:  # this process must not go on with another one alone
            raise UnfitError(f"{error}, and was not a moment ago; start again") from error

    def _set_aside(self, step: int) -> str:
        """Renames the folder of a checkpoint so that it is none any more; returns its new name."""
        name, number = f"damaged_{step}", 1
        while (self.directory / name).exists():
            number += 1
            name = f"damaged_{step}_{number}"
        if processes.is_first():
            (self.directory / str(step)).rename(self.directory / name)
        processes.wait("set aside")
        self._records.pop(step, None)
        self._manager.reload()
        return name

    def restore(
        self, state: TrainState, step: int, batches: BatchIterator | None = None
    ) -> TrainState:
        """Returns the saved state of a step, and moves `batches` to their position at that step.

        Args:
          state: arrays of the shapes and on the devices that are wanted, or `ShapeDtypeStruct`s.
          step: one of the checkpoints.
          batches: of the run.

        Raises:
          UnreadableError: if the checkpoint is damaged.
          UnfitError: if it cannot be read, which says nothing of damage.
          InputError: if it is of another network.
        """
        record = self.stored(step).check_network(state)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract)})
        with finding_damage(self.directory / str(step)):
            restored: TrainState = self._manager.restore(step, args=items)[STATE]
            record.check_arrays(restored)
        if batches is not None:
            batches.set_state(record.position.encode())
        return restored
