"""Scoring a network on whole images, each at its own size."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sassn_jax.data import DatasetInfo, Normalize, Source
from sassn_jax.metrics import ConfusionMatrix, count_pairs

Predict = Callable[[Any, jax.Array], jax.Array]


def evaluate(
    predict: Predict,
    variables: Any,
    source: Source,
    info: DatasetInfo,
    *,
    normalize: Normalize,
    batch_size: int,
    on_images: Callable[[int], None] = lambda count: None,
) -> ConfusionMatrix:
    """Predicts every image of a source and compares with its label.

    Args:
      predict: class probabilities `[B, H, W, C]` from variables and normalized images
        `[B, H, W, 3]`; a jitted one compiles once for each size of image.
      variables: passed on to `predict`.
      source: images with labels.
      info: of the dataset.
      normalize: what the network expects of an image.
      batch_size: images a call; those of one size are gathered, the last of a size padded.
      on_images: told how many images each batch held.

    Returns:
      Pixels counted by class of label and prediction.
    """
    count = functools.partial(
        count_pairs, num_classes=info.num_classes, ignore_label=info.ignore_label
    )
    matrix = ConfusionMatrix.empty(info.num_classes)
    for images, labels, size in _batches(source, info, normalize, batch_size):
        predictions = jnp.argmax(predict(variables, jnp.asarray(images)), axis=-1)
        # An image a call, so that float32 counts stay exact.
        for label, prediction in zip(jnp.asarray(labels)[:size], predictions, strict=False):
            matrix = matrix.merge(jax.device_get(count(label[None], prediction[None])))
        on_images(size)
    return matrix


def _batches(
    source: Source, info: DatasetInfo, normalize: Normalize, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yields images, labels and how many of them are real, a size of image at a time."""
    waiting: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
    for index in range(len(source)):
        example = source[index]
        image, label = example["image"], example["label"].astype(np.int32)
        same_size = waiting.setdefault(label.shape, [])
        same_size.append((normalize(image), label))
        if len(same_size) == batch_size:
            yield _stack(waiting.pop(label.shape), batch_size)
    for same_size in waiting.values():
        yield _stack(same_size, batch_size)


def _stack(
    pairs: list[tuple[np.ndarray, np.ndarray]], batch_size: int
) -> tuple[np.ndarray, np.ndarray, int]:
    padded = pairs + [pairs[-1]] * (batch_size - len(pairs))
    images, labels = (np.stack(arrays) for arrays in zip(*padded, strict=True))
    return images, labels, len(pairs)
