"""The folder of a run: the names of what is in it, reading and writing."""

import contextlib
import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sassn_jax import data
from sassn_jax.config import Config
from sassn_jax.errors import InputError
from sassn_jax.fields import whole_numbers
from sassn_jax.files import (
    expanded,
    occupied,
    parse_json,
    read_json,
    replacing,
    write_json,
)
from sassn_jax.recipes import parse
from sassn_jax.training.binding import differences

SHOWN = 4  # differences that an error lists


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A folder for one run, which need not be there yet.

    Attributes:
      path: of the folder.
    """

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "Workdir":
        """Returns the workdir at a path, which may begin with `~`."""
        return cls(expanded(path))

    @property
    def config(self) -> Path:
        """The config, as it was resolved at the first start."""
        return self.path / "config.json"

    @property
    def lengths(self) -> Path:
        """Of a run that was continued: each `num_steps` that it had, in order."""
        return self.path / "lengths.json"

    @property
    def origin(self) -> Path:
        """Of a run that continues another one: from which checkpoint, and with which changes."""
        return self.path / "from.json"

    @property
    def command(self) -> Path:
        """The command that began the run, unless it was begun from Python."""
        return self.path / "command.txt"

    @property
    def split(self) -> Path:
        """Which images were labelled, and a fingerprint of the data."""
        return self.path / "split.json"

    @property
    def classes(self) -> Path:
        """Names and colours of the dataset's classes."""
        return self.path / "classes.json"

    @property
    def lists(self) -> Path:
        """The ids of each split of one's own images, as lists for the folder of the images."""
        return self.path / "lists"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Scalars, a line of JSON for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """The start of the names of TensorBoard's files."""
        return self.path.absolute() / "events"  # so that no name looks like the scheme of a URL

    def scores(self, split: str, *, overridden: bool = False) -> Path:
        """The scores on a split, by the config of the run or by one with other fields."""
        return self.path / f"eval_{split}{'_overrides' if overridden else ''}.json"

    def occupied(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other processes out while the context lasts, see `files.occupied`."""
        return occupied(self.path, "training there", "workdir")

    def check(self, config: Config, *, may_be_longer: bool = False) -> None:
        """Checks that the folder is new, or holds a run of this config.

        Args:
          config: of the run that is to begin or to go on.
          may_be_longer: whether the run in the folder may have had fewer steps.

        Raises:
          InputError: if it holds a run of another config, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path}: is a file; expected a folder, or a name for a new one")
        if not self.config.exists():
            return
        stored = self.read_config()
        longer = dataclasses.replace(stored, num_steps=config.num_steps)
        if config.num_steps > stored.num_steps and not differences(longer, config):
            if may_be_longer:
                return
            where = f"--workdir={shlex.quote(str(self.path))}"
            raise InputError(
                f"num_steps={config.num_steps}: the run in {self.path} has {stored.num_steps} "
                f"steps; to train it on: sassn train --continue_to={config.num_steps} {where}; or "
                f"start a new run from its weights: sassn export {where} --output=FILE.safetensors,"
                " then --config.model.weights=FILE.safetensors in another workdir"
            )
        if differing := differences(stored, config):
            more = f"; {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            raise InputError(
                f"{self.path}: holds a run of another config ({'; '.join(differing[:SHOWN])}"
                f"{more}); choose another workdir, or remove this one"
            )

    def check_data(self, split: data.Split, info: data.DatasetInfo) -> None:
        """Checks that a run goes on with the images, masks and classes that it began with.

        Raises:
          InputError: if the data, or the file of ids, have changed.
        """
        if self.split.exists() and data.read_split(self.split) != split:
            raise InputError(
                f"{self.split}: the run began with other labelled or unlabelled images, or with "
                "other masks, than the config and the data give now; restore them, or choose "
                "another workdir"
            )
        if self.classes.exists() and self.read_classes(info.name).class_names != info.class_names:
            raise InputError(
                f"{self.classes}: the run began with other classes than the data have now; restore "
                "them, or choose another workdir"
            )

    def begin(
        self, config: Config, split: data.Split, info: data.DatasetInfo, command: str | None = None
    ) -> None:
        """Writes what a run begins with, unless it has begun before; keeps a new `num_steps`."""
        if not self.config.exists():
            if command is not None:
                with replacing(self.command) as beside:
                    beside.write_text(f"{command}\n", encoding="utf-8", errors="replace")
            write_json(self.config, config.to_dict())
        elif (former := self.read_config()).num_steps != config.num_steps:
            lengths = [*self.read_lengths(), config.num_steps]
            write_json(self.config, {**former.to_dict(), "num_steps": config.num_steps})
            write_json(self.lengths, lengths)
        data.write_split(self.split, split)
        data.write_classes(self.classes, info)

    def read_config(self) -> Config:
        """Returns the config of the run.

        Raises:
          InputError: if there is none, or it cannot be read.
        """
        try:
            fields = read_json(self.config)
            if not isinstance(fields, dict):
                raise InputError("expected the fields of a config")
            return parse(fields)
        except FileNotFoundError:
            raise InputError(
                f"{self.path}: no config.json; expected the workdir of a run"
            ) from None
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from None
        except ValueError as error:
            raise InputError(f"{self.config}: not JSON ({error})") from None

    def read_command(self) -> str | None:
        """Returns the command that began the run, None if it was begun from Python.

        Raises:
          InputError: if the file is not text.
        """
        if not self.command.exists():
            return None
        try:
            return self.command.read_text(encoding="utf-8").strip()
        except ValueError:
            raise InputError(f"{self.command}: not text in UTF-8") from None

    def read_lengths(self) -> list[int]:
        """Returns each `num_steps` that the run had, in order: one if it was never continued.

        Raises:
          InputError: if the config or the file of these numbers cannot be read.
        """
        length = self.read_config().num_steps
        if not self.lengths.exists():
            return [length]
        try:
            lengths = read_json(self.lengths)
        except ValueError:
            lengths = None  # which is refused
        if not (isinstance(lengths, list) and lengths and whole_numbers(lengths, 1)):
            raise InputError(f"{self.lengths}: expected JSON of a list of numbers of steps")
        # A crash may have come between the two files.
        return lengths if lengths[-1] == length else [*lengths, length]

    def read_rows(self) -> list[dict[str, Any]]:
        """Returns the lines of `metrics.jsonl`; leaves out those that a crash cut short.

        Raises:
          InputError: naming the first line that is something else.
        """
        if not self.metrics.exists():
            return []
        try:
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{self.metrics}: expected UTF-8 ({error})") from None
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json(line)
            except ValueError:
                continue
            has_step = isinstance(row, dict) and type(row.get("step")) is int
            if not has_step or not all(isinstance(x, float | int | None) for x in row.values()):
                raise InputError(
                    f"{self.metrics}, line {number}: expected a whole number `step`, and numbers; "
                    "restore the file, or remove this line"
                )
            rows.append(row)
        return rows

    def read_classes(self, dataset: str) -> data.DatasetInfo:
        """Returns the classes of the dataset of this name that the run was trained on.

        Raises:
          InputError: if the file is no such JSON.
        """
        return data.read_classes(self.classes, dataset)

    def write_scores(self, result: Mapping[str, Any]) -> None:
        """Writes what `score_run` returns.

        Raises:
          OSError: naming the file, where it cannot be written.
        """
        path = self.scores(result["split"], overridden="overrides" in result)
        write_json(path, result)
