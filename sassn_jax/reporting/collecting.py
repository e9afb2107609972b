"""What a report says of one run, gathered from its workdir, its checkpoint and its dataset."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Integer, UInt8

from sassn_jax import data
from sassn_jax.data import DatasetInfo
from sassn_jax.data.dataset import Dataset, Subset, subset
from sassn_jax.data.skipping import Tally, tally_of
from sassn_jax.data.statistics import LabelCounts
from sassn_jax.errors import InputError, UnreadableError
from sassn_jax.evaluation import PaddedBatch
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.training.origin import read_origin
from sassn_jax.training.summaries import picture_row
from sassn_jax.training.workdir import Workdir

EXTREMES = 3  # the number of best images, and of worst images, that a report shows

Row = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class PicturedImage:
    """One image of the scored split.

    Attributes:
      id: of the image.
      miou: the mean IoU of the classes that occur in its label or its prediction.
      pictures: photo, truth, prediction and, for a method with D, D's confidence.
    """

    id: str
    miou: float
    pictures: tuple[UInt8[np.ndarray, "_ _ 3"], ...]


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What a report says of a run.

    Attributes:
      name: unique within the report.
      info: the classes.
      fields: the config, by dotted name.
      step: the number of steps that the scored checkpoint was trained for.
      saved: the day on which that checkpoint was saved, in UTC.
      command: that began the run; None for a run that was begun from Python.
      origin: the checkpoint of another run that the run goes on from, in words; empty without one.
      counts: the number of images by split.
      labeled: counts over the masks of the labelled training images.
      rows: of `metrics.jsonl`.
      split: the name of the scored split.
      matrix: pixels of that split by class of label and prediction.
      ignored: the number of ignored pixels of that split.
      left_out: the number of images of that split that cannot be read, and are not scored.
      image_mious: the mIoU of each image of that split that has labelled pixels.
      best: the images with the highest mIoU, the highest first.
      worst: the images with the lowest mIoU, the lowest first.
    """

    name: str
    info: DatasetInfo
    fields: dict[str, Any]
    step: int
    saved: str
    command: str | None
    origin: str
    counts: dict[str, int]
    labeled: LabelCounts
    rows: tuple[Row, ...]
    split: str
    matrix: ConfusionMatrix
    ignored: int
    left_out: int
    image_mious: tuple[float, ...]
    best: tuple[PicturedImage, ...]
    worst: tuple[PicturedImage, ...]


def summarize_run(
    workdir: str | Path,
    name: str,
    checkpoint: str = "latest",
    on_images: Callable[[int, int], None] = lambda done, total: None,
    overrides: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Scores a run on `test`, or on `val` where there is no test split, and gathers the rest.

    Args:
      workdir: of the run.
      name: of the run in the report.
      checkpoint: `latest`, or `best` by mIoU on the validation split.
      on_images: called with the number of images scored and the number of all images.
      overrides: other values of fields of its config, by dotted name.

    Raises:
      InputError: if the workdir holds no run or no such checkpoint, or its dataset is not there, or
        more of its images cannot be read than `config.max_unreadable` allows.
    """
    folder = Workdir.at(workdir)
    if folder.path.is_file():
        raise InputError(f"{folder.path}: is a file; expected the workdir of a run")
    run = load_run(folder.path, checkpoint, overrides or {})
    dataset = run.dataset
    split = "test" if "test" in dataset.splits else "val"
    source = dataset.splits[split]
    unreadable = tally_of(split, len(source), run.config.max_unreadable)
    matrix, scores, ignored = _score(run, source, unreadable, on_images)
    ranked = sorted(scores, key=lambda index: scores[index], reverse=True)
    best = ranked[: min(EXTREMES, (len(ranked) + 1) // 2)]
    worst = ranked[len(best) :][::-1][:EXTREMES]
    pictured = _picture(run, source, [*best, *worst], scores)
    chosen = data.read_split(folder.split)
    return RunSummary(
        name=name,
        info=dataset.info,
        fields=traverse_util.flatten_dict(run.config.to_dict(), sep="."),
        step=run.step,
        saved=run.saved[: len("2026-11-30")],
        command=folder.read_command(),
        origin=origin.describe() if (origin := read_origin(folder)) else "",
        counts=_count_images(dataset, chosen),
        labeled=_count_labels(dataset, chosen),
        rows=tuple(folder.read_rows()),
        split=split,
        matrix=matrix,
        ignored=ignored,
        left_out=len(unreadable.ids),
        image_mious=tuple(scores.values()),
        best=tuple(pictured[: len(best)]),
        worst=tuple(pictured[len(best) :]),
    )


def _score(
    run: Run, source: data.Source, unreadable: Tally, on_images: Callable[[int, int], None]
) -> tuple[ConfusionMatrix, dict[int, float], int]:
    """Scores a split; also returns the mIoU of each image, and the number of ignored pixels.

    The mIoU is by index, and of the images that have labelled pixels. Images that cannot be read
    are added to `unreadable`.
    """
    info, scores, done, ignored = run.dataset.info, {}, 0, 0

    def look(batch: PaddedBatch, probabilities: jax.Array) -> None:
        nonlocal done, ignored
        predictions = np.asarray(probabilities.argmax(-1))
        for place, index in enumerate(batch.indices):
            height, width = batch.label_sizes.images[place]
            label = batch.labels[place, :height, :width]
            ignored += int((label == info.ignore_label).sum())
            if (miou := image_miou(label, predictions[place, :height, :width], info)) is not None:
                scores[index] = miou
        done += len(batch.indices)
        on_images(done, len(source))

    matrix = run.score(
        source, look, lambda index, error: unreadable.add(source.ids[index], str(error))
    )
    return matrix, scores, ignored


def image_miou(
    label: Integer[np.ndarray, "H W"], prediction: Integer[np.ndarray, "H W"], info: DatasetInfo
) -> float | None:
    """Returns the mIoU of one image over the classes in it; None if all its pixels are ignored."""
    known = label != info.ignore_label
    if not known.any():
        return None
    # In uint8, products above 255 would be others.
    pairs = label[known].astype(np.int64) * info.num_classes + prediction[known]
    counts = np.bincount(pairs, minlength=info.num_classes**2)
    return ConfusionMatrix(counts.reshape(info.num_classes, info.num_classes)).miou()


def _picture(
    run: Run, source: data.Source, indices: list[int], scores: Mapping[int, float]
) -> list[PicturedImage]:
    """Predicts a few images once more: to keep the pictures of all would take too much memory."""
    chosen = Subset(source, tuple(indices))
    confidence = jax.jit(run.method.confidence)
    pictured = {}

    def look(batch: PaddedBatch, probabilities: jax.Array) -> None:
        for place, index in enumerate(batch.indices):
            height, width = batch.label_sizes.images[place]
            one = probabilities[place, :height, :width]
            sure = confidence(run.state, one[None])
            pictures = picture_row(
                chosen[index],
                np.asarray(one.argmax(-1)),
                run.dataset.info,
                None if sure is None else np.asarray(sure[0]),
            )
            pictured[index] = PicturedImage(
                chosen.ids[index], scores[indices[index]], tuple(pictures)
            )

    run.score(chosen, look)
    return [pictured[place] for place in range(len(indices))]


def _count_images(dataset: Dataset, chosen: data.Split) -> dict[str, int]:
    training = {
        "train, labelled": len(chosen.labeled),
        "train, unlabelled": len(chosen.unlabeled),
    }
    others = {
        name: len(source)
        for name, source in dataset.splits.items()
        if name not in ("train", data.UNLABELED)
    }
    return {**training, **others}


def _count_labels(dataset: Dataset, chosen: data.Split) -> LabelCounts:
    counts = LabelCounts.empty(dataset.info.num_classes)
    source = subset(dataset.splits["train"], chosen.labeled)
    for index in range(len(source)):
        with contextlib.suppress(UnreadableError):  # the run learned nothing from it either
            counts = counts.add(source[index]["label"])
    return counts
