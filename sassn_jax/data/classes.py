"""The classes of a dataset as JSON, as they are stored with a trained network."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from sassn_jax.data.dataset import DatasetInfo
from sassn_jax.errors import InputError
from sassn_jax.files import StrPath, read_json, write_json

FIELDS = ("names", "palette", "ignore_label")


def describe_classes(info: DatasetInfo) -> dict[str, Any]:
    """Returns names, colours and ignore label as JSON can hold them."""
    values = info.class_names, info.palette.tolist(), info.ignore_label
    return dict(zip(FIELDS, values, strict=True))


def parse_classes(name: str, description: Any, source: StrPath) -> DatasetInfo:
    """Returns the classes of the dataset `name` from a result of `describe_classes`.

    Raises:
      InputError: if `description` is no such result; names the file `source` that it is from.
    """
    try:
        names, palette, ignore_label = (description[field] for field in FIELDS)
        colors = np.asarray(palette, np.uint8)
        if not all(isinstance(x, str) for x in names) or colors.shape != (len(names), 3):
            raise ValueError("a name and a colour for each class")
        return DatasetInfo(name, tuple(names), colors, int(ignore_label))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"{os.fspath(source)}: expected JSON of classes with {', '.join(FIELDS)}"
        ) from None


def write_classes(path: StrPath, info: DatasetInfo) -> None:
    """Writes a dataset's classes as JSON; the file appears whole or not at all."""
    write_json(Path(path), describe_classes(info))


def read_classes(path: StrPath, name: str) -> DatasetInfo:
    """Reads the classes of the dataset `name` from a file that `write_classes` wrote.

    Raises:
      InputError: if the file has other content.
    """
    try:
        description = read_json(path)
    except ValueError:
        description = None  # `parse_classes` refuses it
    return parse_classes(name, description, path)
