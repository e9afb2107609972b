"""Scoring a network on whole images, at the size of their labels."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from sassn_jax import processes
from sassn_jax.data import DatasetInfo, Example, Normalize, Source
from sassn_jax.data.dataset import check_class_ids
from sassn_jax.data.transforms import pad
from sassn_jax.errors import UnreadableError
from sassn_jax.inference import Inference, Predict, Size, Sizes, most_likely, predict_images
from sassn_jax.metrics import ConfusionMatrix, count_pairs


class PaddedBatch(NamedTuple):
    """Images of a source whose canvases have the same size.

    Attributes:
      indices: of the images in their source. If there are fewer than B, the rest of the batch
        repeats the last image with a label of ignored pixels alone.
      images: normalized, `[B, H, W, 3]`.
      labels: `[B, h, w]`, ignored around each label.
      sizes: of the images.
      label_sizes: of the labels.
    """

    indices: tuple[int, ...]
    images: np.ndarray
    labels: np.ndarray
    sizes: Sizes
    label_sizes: Sizes


def evaluate(
    predict: Predict,
    variables: Any,
    source: Source,
    info: DatasetInfo,
    *,
    normalize: Normalize,
    batch_size: int,
    inference: Inference = Inference(),  # noqa: B008 (it cannot be changed)
    on_batch: Callable[
        [PaddedBatch, Float[Array, "B h w C"]], None
    ] = lambda batch, probabilities: None,
    on_unreadable: Callable[[int, UnreadableError], object] | None = None,
) -> ConfusionMatrix:
    """Compares the prediction for every image of a source with the image's label.

    Of several processes, each predicts its share of the images, and all return the counts of all.

    Args:
      predict: class probabilities `[B, H, W, C]` from variables and normalized images
        `[B, H, W, 3]`. It is called with one shape for each scale of each canvas of `inference`;
        compile it with `jit_by_shape`.
      variables: passed on to `predict`.
      source: images with labels. Probabilities are scaled to the size of the label where it differs
        from that of the image.
      info: of the dataset.
      normalize: applied to each image.
      batch_size: images in a call of `predict`, or windows of one image. Images are batched with
        others on a canvas of the same size.
      inference: how images are shown to the network.
      on_batch: called with each batch, and with its class probabilities in the sizes of its labels.
      on_unreadable: called with the index of an image that cannot be read, which is then left out.

    Returns:
      Pixels counted by class of label and prediction.

    Raises:
      InputError: names the image whose label has an id that is neither a class nor the ignore
        label. Without `on_unreadable` also an image that cannot be read.
    """
    count = functools.partial(
        count_pairs, num_classes=info.num_classes, ignore_label=info.ignore_label
    )
    matrix = ConfusionMatrix.empty(info.num_classes)
    images_a_batch = 1 if inference.window else batch_size
    examples = _readable(source, on_unreadable)
    for batch in _batches(examples, info, normalize, inference, images_a_batch):
        probabilities = predict_images(
            predict,
            variables,
            jax.device_put(batch.images),
            batch.sizes,
            batch.label_sizes,
            inference,
            batch_size=batch_size,
        )
        matrix = matrix.merge(count(jax.device_put(batch.labels), most_likely(probabilities)))
        on_batch(batch, probabilities)
    return ConfusionMatrix(processes.total(matrix.counts))


def _readable(
    source: Source, on_unreadable: Callable[[int, UnreadableError], object] | None
) -> Iterator[tuple[int, Example]]:
    """Yields this process's share of the images of a source, with their indices."""
    for index in processes.share(len(source)):
        try:
            example = source[index]
        except UnreadableError as error:
            if on_unreadable is None:
                raise
            on_unreadable(index, error)
        else:
            yield index, example


def _batches(
    examples: Iterable[tuple[int, Example]],
    info: DatasetInfo,
    normalize: Normalize,
    inference: Inference,
    batch_size: int,
) -> Iterator[PaddedBatch]:
    """Yields batches of images and labels on canvases of the same size; raises as `evaluate`."""
    stack = functools.partial(_stack, batch_size=batch_size, ignore_label=info.ignore_label)
    waiting: dict[tuple[Size, Size], list[tuple[int, np.ndarray, np.ndarray]]] = {}
    for index, example in examples:
        name = f"image {example.get('id')!r}"
        check_class_ids(example["label"], name, info.num_classes, info.ignore_label)
        image, label = normalize(example["image"]), example["label"].astype(np.int32)
        canvases = inference.canvas(image.shape[:2]), inference.canvas(label.shape)
        alike = waiting.setdefault(canvases, [])
        alike.append((index, image, label))
        if len(alike) == batch_size:
            yield stack(waiting.pop(canvases), canvases)
    for canvases, alike in waiting.items():
        yield stack(alike, canvases)


def _stack(
    examples: list[tuple[int, np.ndarray, np.ndarray]],
    canvases: tuple[Size, Size],
    batch_size: int,
    ignore_label: int,
) -> PaddedBatch:
    index, image, label = examples[-1]
    repeated = index, image, np.full_like(label, ignore_label)
    full = examples + [repeated] * (batch_size - len(examples))
    indices, images, labels = zip(*full, strict=True)
    canvas, label_canvas = canvases
    return PaddedBatch(
        indices[: len(examples)],
        np.stack([pad(image, canvas, 0.0) for image in images]),
        np.stack([pad(label, label_canvas, ignore_label) for label in labels]),
        Sizes(canvas, tuple(image.shape[:2] for image in images)),
        Sizes(label_canvas, tuple(label.shape for label in labels)),
    )
