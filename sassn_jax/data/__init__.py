"""Datasets, labelled and unlabelled splits, transforms and training batches."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sassn_jax.data import (
    camvid,
    cityscapes,
    folder,
    folder_places,
    records,
    scenes,
    voc2012_aug,
)
from sassn_jax.data.batch import Batch, Half, batch_spec
from sassn_jax.data.classes import describe_classes, parse_classes, read_classes, write_classes
from sassn_jax.data.dataset import (
    IGNORE_LABEL,
    UNLABELED,
    Color,
    Dataset,
    DatasetInfo,
    Example,
    Joined,
    Source,
    subset,
)
from sassn_jax.data.layout import Layout, Progress
from sassn_jax.data.limits import LIMITS, FileLimits
from sassn_jax.data.lists import write_lists
from sassn_jax.data.pipeline import BatchIterator, train_batches
from sassn_jax.data.splits import Split, choose_labeled, read_split, write_split
from sassn_jax.data.survey import Survey, survey
from sassn_jax.data.transforms import Normalize, TrainTransform
from sassn_jax.errors import check, check_name
from sassn_jax.files import StrPath, expanded


class Published(NamedTuple):
    """A dataset that is prepared from the files of its publisher.

    Attributes:
      read_layout: finds the images and masks in the publisher's folder, within limits on its files.
      colors: of the classes by name, in order of class id; empty if the folder names its classes.
    """

    read_layout: Callable[[StrPath, FileLimits], Layout]
    colors: Mapping[str, Color]


# The datasets that `prepare` takes. `scenes` is generated, and needs no preparation.
PREPARED: dict[str, Published] = {
    "camvid": Published(functools.partial(folder.read_layout, published=True), camvid.COLORS),
    "folder": Published(folder.read_layout, {}),
    "voc2012_aug": Published(voc2012_aug.read_layout, voc2012_aug.COLORS),
    **{
        name: Published(functools.partial(cityscapes.read_layout, factor=factor), cityscapes.COLORS)
        for name, factor in cityscapes.VARIANTS.items()
    },
}

__all__ = [
    "IGNORE_LABEL",
    "PREPARED",
    "UNLABELED",
    "Batch",
    "BatchIterator",
    "Dataset",
    "DatasetInfo",
    "Example",
    "FileLimits",
    "Half",
    "Joined",
    "Normalize",
    "Source",
    "Split",
    "Survey",
    "TrainTransform",
    "batch_spec",
    "choose_labeled",
    "class_names",
    "describe_classes",
    "load",
    "parse_classes",
    "prepare",
    "read_classes",
    "read_split",
    "subset",
    "survey",
    "train_batches",
    "write_classes",
    "write_lists",
    "write_split",
]


def prepare(
    dataset: str,
    source: StrPath,
    data_dir: StrPath | None,
    progress: Progress = lambda done, total: None,
    limits: FileLimits = LIMITS,
) -> bool:
    """Checks the images and masks of a dataset and writes them as records, whole or not at all.

    While it is being written, a dataset takes twice its space. A `folder` is prepared again when
    its files have other names, sizes or times than before.

    Args:
      dataset: one of `PREPARED`.
      source: folder of the publisher's files; the dataset's module says what it must hold.
      data_dir: folder of prepared datasets; created if it does not exist. `folder_places.place`
        says where in it a `folder` is prepared.
      progress: called with the number of images written, and of all.
      limits: on the files in `source`.

    Returns:
      Whether the dataset was written; False if it had been prepared already.

    Raises:
      InputError: for an unknown dataset or a wrong file in `source`; if `data_dir` holds the
        dataset from another source, or a `folder` from another one of the same name; or if another
        process is preparing the same dataset there.
      OSError: if `data_dir` cannot be written.
    """
    check_name("dataset", dataset, PREPARED, " (scenes needs no preparation)")
    if dataset == "folder":
        data_dir = folder_places.place(source, data_dir)
    assert data_dir, f"{data_dir=}: expected a folder"
    layout = PREPARED[dataset].read_layout(source, limits)
    if dataset == "folder":
        folder_places.check_same_source(source, expanded(data_dir))
    wrote = records.prepare(dataset, layout, data_dir, progress)
    if wrote and dataset == "folder":
        folder_places.write_source(source, expanded(data_dir))
        ids = records.read_description(dataset, data_dir).ids
        write_lists(expanded(data_dir) / "lists", ids)
    return wrote


def load(
    dataset: str,
    data_dir: StrPath | None = None,
    source: StrPath = "",
    limits: FileLimits = LIMITS,
) -> Dataset:
    """Loads a dataset.

    Args:
      dataset: `scenes` or one of `PREPARED`.
      data_dir: where `prepare` wrote the dataset; not used for `scenes`.
      source: for `folder` only: the folder of images and masks. It is prepared first if it has not
        been, or has changed. If it is not there, what was prepared from it is loaded.
      limits: on its files, and on the images that were prepared.

    Raises:
      InputError: if there is no such dataset, or it has not been prepared; for `source` as
        `prepare`.
    """
    check_name("dataset", dataset, (*PREPARED, "scenes"))
    expected = "'', since dataset='folder' alone takes one"
    check(not source or dataset == "folder", "source", os.fspath(source), expected)
    if dataset == "scenes":
        return scenes.load()
    if dataset == "folder":
        if source and (not data_dir or expanded(source).exists()):
            prepare(dataset, source, data_dir, limits=limits)
        data_dir = folder_places.place(source, data_dir)
    return records.load(dataset, data_dir, PREPARED[dataset].colors, limits.max_pixels)


def class_names(
    dataset: str,
    data_dir: StrPath | None = None,
    source: StrPath = "",
    limits: FileLimits = LIMITS,
) -> tuple[str, ...]:
    """Returns the names of a dataset's classes, in order of class id.

    Args:
      dataset: as for `load`.
      data_dir: as for `load`; needed for `folder` only.
      source: as for `load`.
      limits: as for `load`.

    Raises:
      InputError: if there is no such dataset, or `folder` has not been prepared.
    """
    if dataset in PREPARED and PREPARED[dataset].colors:
        return tuple(PREPARED[dataset].colors)
    return load(dataset, data_dir, source, limits).info.class_names
