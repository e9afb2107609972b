"""What a network must keep of the dataset that it was trained on: its classes."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sassn_jax.data.dataset import DatasetInfo
from sassn_jax.errors import InputError
from sassn_jax.files import write_json

FIELDS = ("names", "palette", "ignore_label")


def describe_classes(info: DatasetInfo) -> dict[str, Any]:
    """Returns names, colours and ignore label as JSON can hold them."""
    return dict(
        zip(FIELDS, (info.class_names, info.palette.tolist(), info.ignore_label), strict=True)
    )


def parse_classes(name: str, description: Any, source: str | os.PathLike[str]) -> DatasetInfo:
    """Returns the info of a dataset from what `describe_classes` gave, perhaps through JSON.

    Args:
      name: of the dataset.
      description: its classes.
      source: the file that they are from.

    Raises:
      InputError: where it is no such description.
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


def write_classes(path: str | os.PathLike[str], info: DatasetInfo) -> None:
    """Writes a dataset's classes as JSON; the file appears whole or not at all."""
    write_json(Path(path), describe_classes(info))


def read_classes(path: str | os.PathLike[str], name: str) -> DatasetInfo:
    """Reads what `write_classes` wrote of the dataset of this name.

    Raises:
      InputError: where the file is no such JSON.
    """
    try:
        description = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        description = None  # which is no description
    return parse_classes(name, description, path)
