"""A single checkpoint on disk: its record, and whether it is whole."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sassn_jax import processes
from sassn_jax.errors import InputError, UnfitError, UnreadableError
from sassn_jax.files import remove_parts, write_json
from sassn_jax.methods import TrainState
from sassn_jax.training.damage import finding_damage
from sassn_jax.training.record import Record

RECORD, STATE = "record", "state"  # the folders of its two items
RECORD_FILE = "metadata"  # as Orbax calls a file of JSON


@dataclasses.dataclass(frozen=True)
class Stored:
    """A checkpoint in its folder.

    Attributes:
      step: the number of steps taken.
      path: of the folder, as messages name it.
      alias: of the same folder, as Orbax and TensorStore can read it, see `readable_alias`.
    """

    step: int
    path: Path
    alias: Path

    def size(self) -> int:
        """Returns the bytes that it takes on disk."""
        return sum(path.stat().st_size for path in self.alias.rglob("*") if path.is_file())

    def read_record(self) -> Record:
        """Returns what the checkpoint says of itself.

        Raises:
          UnreadableError: if the record is damaged.
          UnfitError: if it cannot be read for another reason.
          InputError: if an earlier version of this program has written the checkpoint.
        """
        if (self.alias / "batches").is_dir():
            raise InputError(
                f"{self.path.parent}: holds checkpoints without checksums, of an earlier version "
                "of this program; go on with that version, or choose another workdir"
            )
        with finding_damage(self.path):
            record = Record.from_json(ocp.JsonCheckpointHandler().restore(self.alias / RECORD))
            if record.step != self.step:
                raise UnreadableError(f"it is of step {record.step}")
        return record

    def write_record(self, record: Record) -> None:
        """Puts another record in the place of the one that is there.

        Raises:
          OSError: if it cannot be written; the one that is there stays.
        """
        remove_parts(self.alias / RECORD)  # of a call that was killed
        write_json(self.alias / RECORD / RECORD_FILE, record.to_json())

    def check_network(self, state: TrainState) -> Record:
        """Checks that the checkpoint is of a network and its optimizers, and returns its record.

        Args:
          state: of the network: arrays, or `ShapeDtypeStruct`s.

        Raises:
          UnreadableError: if the record is damaged.
          InputError: if it is of another network.
        """
        record = self.read_record()
        try:
            record.check_network(state)
        except InputError as error:
            raise InputError(f"{self.path.parent}: {error}") from None
        return record

    def is_whole(self) -> bool:
        """Tells whether the checkpoint is undamaged, see `check_whole`."""
        try:
            self.check_whole()
        except UnreadableError:
            return False
        return True

    def check_whole(self) -> None:
        """Reads all of the checkpoint, whatever its network, to see that it is undamaged.

        Of several processes, all must call this, and each reads all of it by itself.

        Raises:
          UnreadableError: if it is damaged. Of several processes, all raise it if one of them
            finds damage.
          InputError: if it cannot be read for another reason, in any of the processes.
        """
        failure: InputError | None = None
        try:
            record = self.read_record()
            with finding_damage(self.path):
                record.check_arrays(_read_arrays(self.alias / STATE))
        except InputError as error:  # the others are not left to wait
            failure = error
        count, mine = jax.process_count(), jax.process_index()
        is_damage = isinstance(failure, UnreadableError)
        # Of each process: whether it finds damage, and whether it cannot read for another reason.
        failures = [] if failure is None else [mine if is_damage else count + mine]
        of_all = processes.union(failures, 2 * count)
        if failure is not None and (not is_damage or of_all[-1] < count):
            raise failure
        if of_all and of_all[-1] >= count:
            raise UnfitError(f"{self.path}: cannot be read by process {of_all[-1] - count}")
        if of_all:
            raise UnreadableError(f"{self.path}: is damaged (as process {of_all[0]} reads it)")


def _read_arrays(folder: Path) -> Any:
    """Reads a saved state as nested dictionaries of NumPy arrays, in this process alone.

    It does not matter which devices the state was on. Other processes need not call this.
    """
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process{jax.process_index()}",
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        tree = reader.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(folder, restore_args=as_numpy)
