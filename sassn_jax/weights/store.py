"""Our own file format: a network's variables, and a description of the network."""

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
from sassn_jax.files import expanded, parse_json, replacing
from sassn_jax.weights.reading import reading

SUFFIX = ".safetensors"
KEY = "sassn_jax"  # of the description, in the file's metadata
REQUIRED = {"model", "image", "num_classes", "fused"}
REQUIRED_OF_MODEL = {"backbone", "layout"}
DEEPEST = 20  # parts of an array's name


def write(
    path: str | os.PathLike[str], variables: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Writes variables and a description of their network to a `.safetensors` file.

    Args:
      path: the file, which appears whole or not at all.
      variables: `params` and, if the network has them, `batch_stats`. An array's name is its path,
        such as `params/backbone/conv1/kernel`.
      about: `model` and `image` (fields of a config: how the network was built, and which images it
        takes), `num_classes`, `fused` (whether batch norm is fused into the convolutions, see
        `whiten`), and anything else that JSON can hold.

    Raises:
      InputError: if `path` does not end in `.safetensors`, or its folder does not exist.
    """
    path = check_name(path)
    arrays = {
        name: np.asarray(array, order="C")  # the format stores arrays in this order only
        for name, array in traverse_util.flatten_dict(variables, sep="/").items()
    }
    with replacing(path) as beside:
        beside.write_bytes(safetensors.numpy.save(arrays, {KEY: json.dumps(about)}))


def check_name(path: str | os.PathLike[str], suffix: str = SUFFIX) -> Path:
    """Returns the path of a file to write, with `~` expanded.

    Raises:
      InputError: if it does not end in the suffix, or its folder does not exist.
    """
    path = expanded(path)
    if path.suffix != suffix or not path.parent.is_dir():
        raise InputError(
            f"output={str(path)!r}: expected a name that ends in {suffix}, in a folder that exists"
        )
    return path


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the variables and the description that `write` wrote.

    Raises:
      InputError: if the file is missing, damaged, or was not written by `write`.
    """
    about, arrays = read_about(path), read_arrays(path)
    with reading(path, "arrays with names like params/backbone/conv1/kernel"):
        if any(name.count("/") > DEEPEST for name in arrays):
            raise ValueError(f"a name of more than {DEEPEST} parts")
        return traverse_util.unflatten_dict(arrays, sep="/"), about


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the description that `write` wrote, without reading the arrays.

    Raises:
      InputError: as `read`.
    """
    with _opened(path) as file:
        about = parse_json((file.metadata() or {}).get(KEY, "{}"))
        if not (
            isinstance(about, dict)
            and about.keys() >= REQUIRED
            and isinstance(about["model"], dict)
            and about["model"].keys() >= REQUIRED_OF_MODEL
            and isinstance(about["image"], dict)
        ):
            raise ValueError("not written by `sassn import_weights` or `sassn export`")
        return about


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns every array of any `.safetensors` file by name.

    Raises:
      InputError: if the file is missing or damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def is_ours(names: Collection[str]) -> bool:
    """Whether arrays have names that `write` gives."""
    return len(names) > 0 and all(name.startswith(("params/", "batch_stats/")) for name in names)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    with (
        reading(path, f"a {SUFFIX} file") as path,
        safetensors.safe_open(path, framework="numpy") as file,
    ):
        yield file
