"""One file for a network's variables and what must be known to use them."""

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from sassn_jax.errors import InputError
from sassn_jax.files import expanded, replacing

Tree = Mapping[str, Any]

SUFFIX = ".safetensors"
KEY = "sassn_jax"  # in the file's metadata
REQUIRED = {"network", "model", "image", "num_classes", "fused"}
# What `model` says at least, by network.
OF_MODEL: dict[str, set[str]] = {"generator": {"backbone", "layout"}, "discriminator": set()}


def write(path: str | os.PathLike[str], variables: Tree, about: Mapping[str, Any]) -> None:
    """Writes variables and what is known about them to a `.safetensors` file.

    Args:
      path: of the file, which appears whole or not at all.
      variables: of a network: `params` and, where there is one, `batch_stats`. An array is named by
        its place, as in `params/backbone/conv1/kernel`.
      about: `network` (`generator` or `discriminator`), `model` and `image` (fields of a config
        that describe the network and what it takes), `num_classes`, `fused` (see `whiten`), and
        whatever else JSON can hold.

    Raises:
      InputError: if the name does not end in `.safetensors`, or its folder is not there.
    """
    path = check_name(path)
    arrays = {
        name: np.asarray(array, order="C")  # as the format has them
        for name, array in traverse_util.flatten_dict(variables, sep="/").items()
    }
    with replacing(path) as beside:
        beside.write_bytes(safetensors.numpy.save(arrays, {KEY: json.dumps(about)}))


def check_name(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a file to be written.

    Raises:
      InputError: if the name does not end in `.safetensors`, or its folder is not there.
    """
    path = expanded(path)
    if path.suffix != SUFFIX or not path.parent.is_dir():
        raise InputError(
            f"output={str(path)!r}: expected a name that ends in {SUFFIX}, in a folder that exists"
        )
    return path


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the variables of a file of `write`, and what is known about them.

    Raises:
      InputError: if the file is missing, damaged, or not of `write`.
    """
    about = read_about(path)
    return traverse_util.unflatten_dict(read_arrays(path), sep="/"), about


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what is known about the variables in a file of `write`; reads no array.

    Raises:
      InputError: as `read`.
    """
    with _opened(path) as file:
        about = json.loads((file.metadata() or {}).get(KEY, "{}"))
        if not (
            isinstance(about, dict)
            and about.keys() >= REQUIRED
            and about["network"] in OF_MODEL
            and isinstance(about["model"], dict)
            and about["model"].keys() >= OF_MODEL[about["network"]]
            and isinstance(about["image"], dict)
        ):
            raise ValueError("not one of experiments.import_weights or experiments.export")
        return about


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns every array of any `.safetensors` file by name.

    Raises:
      InputError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def is_ours(names: Collection[str]) -> bool:
    """Whether arrays are named as `write` names them; none are not."""
    return len(names) > 0 and all(name.startswith(("params/", "batch_stats/")) for name in names)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens a file, and turns every failure in reading it into one line."""
    path = expanded(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{os.fspath(path)}: no such file; expected a {SUFFIX} file") from None
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{os.fspath(path)}: expected a {SUFFIX} file ({reason})") from error
