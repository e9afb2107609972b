"""A cell of a table: one run, whose name says what tells it from others."""

import ast
import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from sassn_jax import data
from sassn_jax.errors import InputError
from sassn_jax.files import expanded
from sassn_jax.models.networks import BACKBONES
from sassn_jax.recipes import METHOD_FIELDS, about_weights, parse

CONFIGS = ("voc", "cityscapes", "camvid", "scenes", "folder")
FULL_SIZE = ("voc", "cityscapes", "folder")  # configs that take `backbone=`
MADE_OF = (  # fields that a cell sets, and --set may not
    "dataset",
    "method",
    "labels",
    "seed",
    "data_dir",
    "model.weights",
    # Fields that tell one method from another.
    "model.attention",
    "model.spectral_norm",
    "model.head",
)
# Fields that some methods or heads set; --set may set them for the others.
OF_HEADS = "model.aspp_rates"
OF_SOME = {OF_HEADS, "model.backbone", "loss.discriminator_fake", "loss.adv_from_start"}
# Overrides that do not change the result. (`log_every` does: a run's health is judged by its last
# losses, which are means over the steps since the one before.)
HOW = {"loader_workers", "eval_batch_size"}
SCORED_ON = {"voc": "val", "cityscapes": "val"}  # as in the paper; test elsewhere
RANDOM = "random"  # in place of a file of weights


@dataclasses.dataclass(frozen=True)
class Cell:
    """What tells a run from the others of its table.

    Attributes:
      dataset: one of `CONFIGS`.
      method: a name in `sassn_jax.methods.METHODS`.
      labels: a fraction, or a file of ids.
      seed: of the run, and of the choice of labelled images.
      head: of G; the recipe's if empty.
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
        """Name of its folder, as `voc_sassn_1-8_seed0`: tables share the runs of common cells."""
        labels, path = self.labels, expanded(self.labels)
        if path.is_file():  # two files may have the same name, and a file may change
            labels = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        parts = [self.dataset, self.method, self.head, re.sub(r"[^\w.]+", "-", labels)]
        if self.discriminator_lr_multiple != 1:
            parts.append(f"dlr{self.discriminator_lr_multiple}")
        return "_".join([*filter(None, parts), f"seed{self.seed}"])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all cells of a call share.

    Attributes:
      dataset: one of `CONFIGS`.
      data_dir: where the dataset was prepared.
      weights: file to start from, or `RANDOM`, by backbone. `""` stands for the recipe's backbone;
        `RANDOM` there holds for all backbones without a file.
      overrides: other values of fields, by dotted name.
    """

    dataset: str
    data_dir: str = ""
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Any]:
        """Overrides that change the result of a run, as they are read from JSON."""
        changes = {name: value for name, value in self.overrides.items() if name not in HOW}
        return json.loads(json.dumps(changes, sort_keys=True))

    def check(self, labels: Iterable[str] = (), cells: Sequence[Cell] = ()) -> None:
        """Checks before any run what would make all of them fail.

        Raises:
          InputError: for a wrong field or value, a dataset or a choice of labels that does not
            exist, an override of what a cell is made of, weights of another network, or a cell
            without weights.
        """
        config = parse(self.config(Cell(self.dataset, "sassn", "1/8", 0)))
        splits = data.load(config.dataset, config.data_dir, config.source, config.files).splits
        for choice in labels:
            data.choose_labeled(splits["train"].ids, choice, 0)
        if (split := scored_split(self.dataset)) not in splits:
            raise InputError(
                f"--dataset={self.dataset}: has no split {split!r} to score runs on; add its list "
                "and prepare it anew"
            )
        for cell in cells:
            own = METHOD_FIELDS.get(cell.method, {}).keys() | ({OF_HEADS} if cell.head else set())
            for field in self.overrides.keys() & own & OF_SOME:
                raise InputError(
                    f"--set={field}: {cell.name} is made of this; leave such cells out by --cells"
                )
        configs = [self.config(cell) for cell in cells]
        for one in {config.model.backbone: config for config in (config, *configs)}.values():
            if one.model.weights:
                about_weights(parse(one))
        self.require_weights(configs)

    def require_weights(self, configs: Iterable[ConfigDict]) -> None:
        """Checks that no full-size network starts from random weights by oversight.

        Raises:
          InputError: if one has no file and `RANDOM` was not given.
        """
        without = {config.model.backbone for config in configs if not config.model.weights}
        names = sorted(name for name in without if self.weights.get(name) != RANDOM)
        if names and self.weights.get("") != RANDOM and self.dataset in FULL_SIZE:
            raise InputError(
                f"--weights: none for {', '.join(names)}; add {names[0]}=FILE, or "
                f"{names[0]}={RANDOM}, or leave such cells out by --cells"
            )

    def weights_of(self, cell: Cell) -> str:
        """Returns the name of the file that a cell's run starts from, or `RANDOM`."""
        return Path(self.config(cell).model.weights).name or RANDOM

    def config(self, cell: Cell) -> ConfigDict:
        """Returns the config of a cell.

        Raises:
          InputError: for a field, a value or a method that does not exist.
        """
        recipe = importlib.import_module(f"configs.{cell.dataset}")
        argument = f"method={cell.method},labels={cell.labels}"
        if cell.head and cell.dataset in FULL_SIZE:
            argument += f",backbone={cell.head}"
        config: ConfigDict = recipe.get_config(argument)
        own_backbone = recipe.get_config(None).model.backbone
        if cell.head:
            config.model.head = cell.head  # small recipes keep their dilations, for a small map
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
    """Returns the split that a table's runs are scored on."""
    return SCORED_ON.get(dataset, "test")


def _update(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    known = traverse_util.flatten_dict(config.to_dict(), sep=".")
    for field, value in overrides.items():
        if field not in known:
            raise InputError(f"--set: there is no field {field}; see sassn_jax/config.py")
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError):
            raise InputError(
                f"--set={field}={value}: expected a value of the type of the recipe's "
                f"{known[field]}"
            ) from None


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads pairs such as `num_steps=100`. A value is a Python literal, or else a word.

    Raises:
      InputError: for what is not a pair, or a field that a cell is made of.
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
    """Reads `FILE`, for the recipe's backbone, and `BACKBONE=FILE`; `random` stands for no file.

    Raises:
      InputError: for a file or a backbone that does not exist.
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
