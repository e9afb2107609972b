"""The checkpoint of another run that a run began from."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sassn_jax.errors import InputError
from sassn_jax.files import read_json, write_json
from sassn_jax.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Origin:
    """A checkpoint that another run continues.

    Attributes:
      workdir: of its run, absolute.
      step: the number of steps taken there.
      changes: fields of the config that are others in the run that continues, by dotted name.
    """

    workdir: Path
    step: int
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.workdir}@{self.step}"

    def describe(self) -> str:
        """Returns a line for the log of the run that continues."""
        changes = ", ".join(f"{name}={value!r}" for name, value in self.changes.items())
        return (
            f"goes on from step {self.step} of {self.workdir}, with {changes or 'the same config'}"
        )

    def check(self, folder: Workdir) -> None:
        """Checks that a folder is new, or holds a run that began from this checkpoint.

        Raises:
          InputError: if it holds another run.
        """
        if not folder.config.exists():
            return
        begun = read_origin(folder)
        if begun is None or (begun.workdir, begun.step) != (self.workdir, self.step):
            raise InputError(
                f"{folder.path}: holds a run that began from {begun or 'no checkpoint'} and not "
                f"from {self}; choose another workdir"
            )

    def write(self, folder: Workdir) -> None:
        """Writes where the run in a folder began from, unless it has begun before."""
        if not folder.config.exists():
            fields = {"workdir": str(self.workdir), "step": self.step, "changes": self.changes}
            write_json(folder.origin, fields)


def read_origin(folder: Workdir) -> Origin | None:
    """Returns the checkpoint that the run in a folder began from; None if it began anew.

    Raises:
      InputError: if the file is not one that `Origin.write` wrote.
    """
    if not folder.origin.exists():
        return None
    try:
        about = read_json(folder.origin)
        origin = Origin(Path(about["workdir"]), about["step"], dict(about["changes"]))
        if type(origin.step) is int and origin.step >= 0:
            return origin
    except (InputError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{folder.origin}: damaged; expected the checkpoint that the run began from, as it was "
        "written"
    )
