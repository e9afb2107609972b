"""Datasets, labelled/unlabelled splits, transforms and training batches."""

import functools
from collections.abc import Callable
from pathlib import Path

from sassn_jax.data import camvid, cityscapes, folder, scenes, voc2012_aug
from sassn_jax.data.classes import (
    describe_classes,
    parse_classes,
    read_classes,
    write_classes,
)
from sassn_jax.data.dataset import (
    IGNORE_LABEL,
    UNLABELED,
    Dataset,
    DatasetInfo,
    Example,
    Joined,
    Source,
    subset,
)
from sassn_jax.data.pipeline import BatchIterator, train_batches
from sassn_jax.data.splits import Split, choose_labeled, read_split, write_split
from sassn_jax.data.transforms import Normalize, TrainTransform
from sassn_jax.errors import InputError

_LOADERS: dict[str, Callable[[str | Path | None], Dataset]] = {
    "camvid": camvid.load,
    folder.NAME: folder.load,
    "scenes": scenes.load,
    "voc2012_aug": voc2012_aug.load,
    **{name: functools.partial(cityscapes.load, name=name) for name in cityscapes.VARIANTS},
}

# Known without a dataset's files; the folder that CamVid is prepared from may name others.
_PUBLISHED_CLASSES: dict[str, tuple[str, ...]] = {
    "camvid": tuple(camvid.COLORS),
    "scenes": scenes.CLASS_NAMES,
    "voc2012_aug": voc2012_aug.CLASS_NAMES,
    **dict.fromkeys(cityscapes.VARIANTS, tuple(cityscapes.COLORS)),
}

__all__ = [
    "IGNORE_LABEL",
    "UNLABELED",
    "BatchIterator",
    "Dataset",
    "DatasetInfo",
    "Example",
    "Joined",
    "Normalize",
    "Source",
    "Split",
    "TrainTransform",
    "choose_labeled",
    "class_names",
    "describe_classes",
    "load",
    "parse_classes",
    "read_classes",
    "read_split",
    "subset",
    "train_batches",
    "write_classes",
    "write_split",
]


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Loads a dataset.

    Args:
      name: `scenes`, `camvid`, `folder` (of one's own), `voc2012_aug`, `cityscapes` or
        `cityscapes_512x1024`.
      data_dir: where `experiments.prepare` put it; `scenes` needs none.

    Raises:
      InputError: where there is no such dataset, or it has not been prepared.
    """
    _check_name(name)
    return _LOADERS[name](data_dir)


def class_names(name: str, data_dir: str | Path | None = None) -> tuple[str, ...]:
    """Names of a dataset's classes; of one that is published its files are not needed.

    Args:
      name: as for `load`.
      data_dir: as for `load`; looked at for one's own alone.

    Raises:
      InputError: where there is no such dataset, or it is one's own and has not been prepared.
    """
    _check_name(name)
    if name in _PUBLISHED_CLASSES:
        return _PUBLISHED_CLASSES[name]
    return load(name, data_dir).info.class_names


def _check_name(name: str) -> None:
    if name not in _LOADERS:
        raise InputError(f"dataset={name!r}: expected one of {', '.join(_LOADERS)}")
