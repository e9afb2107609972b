"""A cell of a table: one run, named by what it is made of."""

import ast
import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs.common import METHODS
from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.files import expanded
from sassn_jax.models.networks import BACKBONES
from sassn_jax.training import config as configuration
from sassn_jax.training import validation

CONFIGS = ("voc", "cityscapes", "camvid", "scenes", "folder")
FULL_SIZE = ("voc", "cityscapes", "folder")  # whose recipes know both heads
MADE_OF = (
    "dataset",
    "method",
    "labels",
    "seed",
    "data_dir",
    "model.weights",
    # What one method has and another has not.
    "model.attention",
    "model.spectral_norm",
    "model.head",
    "model.backbone",
)
# What some method or head has of its own, and a call may set for others.
OF_SOME = ("model.aspp_rates", "loss.discriminator_fake", "loss.adv_from_start")
# Overrides that nothing depends on. (How often is logged, scored and saved does matter: the last
# losses of a run, by which its health is judged, are means since then.)
HOW = {"loader_workers", "eval_batch_size"}
SCORED_ON = {"voc": "val", "cityscapes": "val"}  # as in the paper; test elsewhere
RANDOM = "random"  # in the place of a file of weights


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a run is made of, other than what all runs of a table share.

    Attributes:
      dataset: one of `CONFIGS`.
      method: one of those in `configs/common.py`.
      labels: a fraction, or a file of ids.
      seed: of the run, and of the choice of labelled images.
      head: of G where it is not the recipe's, `deeplabv3`.
      discriminator_lr_multiple: D's learning rate, in units of the recipe's.
    """

    dataset: str
    method: str
    labels: str
    seed: int
    head: str = ""
    discriminator_lr_multiple: int = 1

    @property
    def name(self) -> str:
        """Of its folder: `voc_sassn_1-8_seed0`; tables that have a cell in common share its run."""
        labels, path = self.labels, expanded(self.labels)
        if path.is_file():  # two of them may have one name, and one may change
            labels = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        parts = [self.dataset, self.method, self.head, re.sub(r"[^\w.]+", "-", labels)]
        if self.discriminator_lr_multiple != 1:
            parts.append(f"dlr{self.discriminator_lr_multiple}")
        return "_".join([*filter(None, parts), f"seed{self.seed}"])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all cells of a call share.

    Attributes:
      dataset: one of `CONFIGS`, whose file is the recipe.
      data_dir: where the dataset was prepared.
      weights: files to start from by backbone, `""` for that of the recipe; or `RANDOM`, which
        under `""` is for all that have no other.
      overrides: other values of fields, by dotted name.
    """

    dataset: str
    data_dir: str = ""
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Any]:
        """Overrides that matter to what comes of a run, as they read back from JSON."""
        changes = {name: self.overrides[name] for name in sorted(self.overrides.keys() - HOW)}
        return json.loads(json.dumps(changes))

    def check(self, labels: Iterable[str] = (), cells: Sequence[Cell] = ()) -> None:
        """Checks what is wrong for all cells or for none.

        Raises:
          InputError: if a field or its value is, the dataset is not there, or a choice of labels;
            if a field is one that a cell is made of; if a file of weights is of another network, or
            some cell has none to start from.
        """
        config = self.config(Cell(self.dataset, "sassn", "1/8", 0))
        validation.validate(config)
        splits = data.load(config.dataset, config.data_dir).splits
        for choice in labels:
            data.choose_labeled(splits["train"].ids, choice, 0)
        if (split := scored_split(self.dataset)) not in splits:
            raise InputError(
                f"--dataset={self.dataset}: has no split {split!r} to score runs on; add its list "
                "and prepare it anew"
            )
        for cell in cells:
            self._check_overrides(cell)
        configs = [self.config(cell) for cell in cells]
        for one in {config.model.backbone: config for config in (config, *configs)}.values():
            if one.model.weights:
                configuration.about_weights(one)
        self.require_weights(configs)

    def require_weights(self, configs: Iterable[ConfigDict]) -> None:
        """Checks that no network which the paper compares starts from random by oversight.

        Raises:
          InputError: if some have no file, and nobody has asked for that.
        """
        without = {config.model.backbone for config in configs if not self._has_weights(config)}
        if without:
            names = sorted(without)
            raise InputError(
                f"--weights: none for {', '.join(names)}; add {names[0]}=FILE, or "
                f"{names[0]}={RANDOM}, or leave such cells out by --cells"
            )

    def weights_of(self, cell: Cell) -> str:
        """Returns the name of the file that a cell starts from, or `RANDOM`."""
        return Path(self.config(cell).model.weights).name or RANDOM

    def _check_overrides(self, cell: Cell) -> None:
        own = {*METHODS.get(cell.method, {}), *(["model.aspp_rates"] if cell.head else [])}
        for field in self.overrides.keys() & own & set(OF_SOME):
            raise InputError(
                f"--set={field}: {cell.name} is made of this; leave such cells out by --cells"
            )

    def _has_weights(self, config: ConfigDict) -> bool:
        asked = RANDOM in (self.weights.get(""), self.weights.get(config.model.backbone))
        return bool(config.model.weights) or asked or self.dataset not in FULL_SIZE

    def config(self, cell: Cell) -> ConfigDict:
        """Returns the config of a cell.

        Raises:
          InputError: if a field does not exist or takes no such value.
          ValueError: if there is no such method.
        """
        recipe = importlib.import_module(f"configs.{cell.dataset}")
        argument = f"method={cell.method},labels={cell.labels}"
        if cell.head and cell.dataset in FULL_SIZE:
            argument += f",backbone={cell.head}"
        config: ConfigDict = recipe.get_config(argument)
        own_backbone = recipe.get_config(None).model.backbone
        if cell.head:
            config.model.head = cell.head  # a small recipe's dilations suit its feature map
        config.seed = cell.seed
        config.data_dir = self.data_dir
        _update(config, self.overrides)
        backbone = config.model.backbone
        unnamed = self.weights.get("", "") if backbone == own_backbone else ""
        weights = self.weights.get(backbone, unnamed)
        config.model.weights = "" if weights == RANDOM else weights
        config.optimizer.discriminator_lr *= cell.discriminator_lr_multiple
        return config


def scored_split(dataset: str) -> str:
    """The split that a table's runs are scored on, by name of a config's file."""
    return SCORED_ON.get(dataset, "test")


def _update(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    for field, value in overrides.items():
        *path, name = field.split(".")
        part: Any = config
        for step in path:
            part = part.get(step) if isinstance(part, ConfigDict) else None
        if not isinstance(part, ConfigDict) or name not in part:
            raise InputError(f"--set: there is no field {field}; see configs/common.py")
        try:
            part[name] = value
        except (TypeError, ValueError):
            raise InputError(
                f"--set={field}={value}: expected a value of the kind of the recipe's {part[name]}"
            ) from None


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads `field=value`, values as Python has them, or as words.

    Raises:
      InputError: where a pair is none, or its field is one that a cell is made of.
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        field, _, value = pair.partition("=")
        if not field or not value:
            raise InputError(f"--set={pair}: expected field=value, such as num_steps=100")
        if field in MADE_OF:
            raise InputError(
                f"--set={pair}: a cell is made of this; see --dataset, --cells, --labels, --seeds, "
                "--data_dir and --weights"
            )
        try:
            overrides[field] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            overrides[field] = value
    return overrides


def parse_weights(files: Iterable[str]) -> dict[str, str]:
    """Reads `FILE`, for the backbone of the recipe, and `BACKBONE=FILE` for another.

    `random` stands for no file.

    Raises:
      InputError: where there is no such file or backbone.
    """
    weights: dict[str, str] = {}
    for word in files:
        name, _, path = word.rpartition("=")
        if name and name not in BACKBONES:
            raise InputError(
                f"--weights={word}: there is no backbone {name}; expected one of "
                f"{', '.join(BACKBONES)}"
            )
        if path != RANDOM and not expanded(path).is_file():
            raise InputError(
                f"--weights={word}: no such file; expected FILE, BACKBONE=FILE, or {RANDOM}"
            )
        weights[name] = path
    return weights
