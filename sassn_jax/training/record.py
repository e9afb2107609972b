"""What a checkpoint says of itself, so that damage to it is found."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from sassn_jax.data import BatchIterator
from sassn_jax.errors import InputError, UnreadableError
from sassn_jax.methods import TrainState
from sassn_jax.training.checksums import checksums

DIGEST = "sha256"  # of the other fields of a record


@dataclasses.dataclass(frozen=True)
class Record:
    """Stands in each checkpoint beside its arrays.

    Attributes:
      step: the number of steps taken.
      position: in the data, from `BatchIterator.get_state`.
      saved: the time, UTC.
      miou: on the validation split, None if it was not scored at this step.
      unlogged: the metrics of each step since the last log line.
      fault: why the run is not healthy there, in words; empty if it is.
      kinds: type and shape of each array by dotted name, such as `float32[3, 64]`.
      checksums: of each array by dotted name.
    """

    step: int
    position: str
    saved: str
    miou: float | None
    unlogged: list[dict[str, float]]
    fault: str
    kinds: dict[str, str]
    checksums: dict[str, str]

    @classmethod
    def of(
        cls,
        state: TrainState,
        batches: BatchIterator,
        miou: float | None,
        unlogged: Sequence[Mapping[str, float]],
        fault: str,
    ) -> "Record":
        """Returns the record of a state; computes the checksums where its arrays lie."""
        return cls(
            step=int(state.step),
            position=batches.get_state().decode(),
            saved=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            miou=miou,
            unlogged=[dict(metrics) for metrics in unlogged],
            fault=fault,
            kinds=kinds(state),
            checksums=checksums(state),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as JSON can hold them, with a digest of them."""
        fields = dataclasses.asdict(self)
        return {**fields, DIGEST: _digest(fields)}

    @classmethod
    def from_json(cls, content: Any) -> "Record":
        """Returns the record that `to_json` was called on.

        Raises:
          UnreadableError: if anything in it has changed.
        """
        fields = dict(content) if isinstance(content, dict) else {}
        if fields.pop(DIGEST, None) != _digest(fields):
            raise UnreadableError("its record has changed")
        return cls(**fields)

    def check_network(self, state: TrainState) -> None:
        """Checks that the arrays are those of a network.

        Raises:
          InputError: naming the first array that is of another type or shape, or in one of the two
            only.
        """
        wanted = kinds(state)
        for name in [*wanted, *self.kinds]:
            there, here = self.kinds.get(name, "absent"), wanted.get(name, "absent")
            if there != here:
                raise InputError(
                    f"holds another network: {name} is {there} there and would be {here}; the "
                    "number of classes, the optimizers and the fields under model must be those "
                    "of the run"
                )

    def check_arrays(self, state: Any) -> None:
        """Checks that restored arrays are those that were saved, bit for bit.

        Args:
          state: a `TrainState`, or the same as nested dictionaries and lists.

        Raises:
          UnreadableError: naming the first that is not, or is missing.
        """
        found = checksums(state)
        for name, checksum in self.checksums.items():
            if found.get(name) != checksum:
                raise UnreadableError(f"{name} {'has changed' if name in found else 'is missing'}")


def kinds(state: TrainState) -> dict[str, str]:
    """Returns type and shape of each array of a state, or of its shapes, by dotted name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{x.dtype}{list(x.shape)}"
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
