"""A trained network in one file, with all that is needed to use it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sassn_jax import data
from sassn_jax.data import DatasetInfo
from sassn_jax.data.splits import FRACTION
from sassn_jax.errors import InputError
from sassn_jax.fields import whole_numbers
from sassn_jax.weights import store


class Exported(NamedTuple):
    """What an exported file holds: see the arguments of `write_export`."""

    variables: dict[str, Any]
    config: dict[str, Any]
    info: DatasetInfo
    step: int


def write_export(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    info: DatasetInfo,
    step: int,
) -> dict[str, Any]:
    """Writes a network and the config of its run to a `.safetensors` file.

    The file says nothing about this machine: it leaves out `source`, `data_dir`, `model.weights`,
    and the folder of a file of ids.

    Args:
      path: the file.
      variables: `params` and `batch_stats` of the network, NumPy arrays.
      config: the fields of the run's config.
      info: the dataset that the network was trained on.
      step: how many steps it was trained for.

    Returns:
      The file's description: see `weights.store.write`, and `config`, `step` and `classes`.

    Raises:
      InputError: if `path` does not end in `.safetensors`, or its folder does not exist.
    """
    model = {**config["model"], "weights": ""}
    labels = _without_folder(config["labels"])
    places = {"source": "", "data_dir": ""}
    about = {
        "model": model,
        "image": config["image"],
        "num_classes": info.num_classes,
        "fused": False,
        "config": {**config, "model": model, **places, "labels": labels},
        "step": step,
        "classes": data.describe_classes(info),
    }
    store.write(path, variables, about)
    return about


def read_export(path: str | os.PathLike[str]) -> Exported:
    """Reads a file that `write_export` wrote.

    Raises:
      InputError: if the file is missing, damaged, or not an exported one.
    """
    variables, about = store.read(path)
    config = about.get("config")
    if not (about.keys() >= {"step", "classes"} and isinstance(config, dict)):
        raise InputError(
            f"{os.fspath(path)}: has no config of a run; expected a file of `sassn export`"
        )
    step = about["step"]
    if not whole_numbers([step], 0):
        raise InputError(f"{os.fspath(path)}: step={step!r:.100}: expected a number of steps")
    info = data.parse_classes(str(config.get("dataset", "")), about["classes"], path)
    return Exported(variables, config, info, step)


def _without_folder(labels: str) -> str:
    """A file of ids without its folder; `./` before it, lest a name such as `1` be a fraction."""
    return labels if FRACTION.fullmatch(labels) else f"./{Path(labels).name}"
