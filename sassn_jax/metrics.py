"""Intersection over union and pixel accuracy, from confusion matrices that can be added."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, Int64

from sassn_jax.programs import jit_by_shape

# Pixels that are counted at once, by a matrix product in float32, which is exact up to 2^24. So few
# pixels also limit the memory for one-hot rows, whatever the size of an image.
CHUNK = 2**16


def count_pairs(
    labels: Int[Array, "B H W"],
    predictions: Int[Array, "B H W"],
    num_classes: int,
    ignore_label: int = 255,
) -> Int64[np.ndarray, "C C"]:
    """Counts pixels by class of the label (row) and of the prediction (column).

    The counts are exact for any number of pixels.

    Args:
      labels: class of each pixel, or `ignore_label`. Any other label is not counted; `evaluate`
        refuses it.
      predictions: class of each pixel.
      num_classes: C.
      ignore_label: pixels that are not counted.

    Raises:
      ValueError: for 2^31 pixels or more.
    """
    if labels.size >= 2**31:
        raise ValueError(
            f"labels of {labels.size} pixels: expected fewer than 2^31; count parts of the batch"
        )
    counts = _count_chunks(labels, predictions, num_classes=num_classes, ignore_label=ignore_label)
    return jax.device_get(counts).astype(np.int64)


@jit_by_shape
def _count_chunks(
    labels: Int[Array, "B H W"],
    predictions: Int[Array, "B H W"],
    *,
    num_classes: int,
    ignore_label: int,
) -> Int[Array, "C C"]:
    """Counts `CHUNK` pixels at a time, by products of one-hot matrices.

    On some GPUs a scatter has no fixed order.
    """
    nothing = -1  # a one-hot row of zeros

    def count(total: Int[Array, "C C"], pairs: Int[Array, "2 K"]) -> tuple[jax.Array, None]:
        truth, guess = jax.nn.one_hot(pairs, num_classes, dtype=jnp.float32)
        of_chunk = jnp.matmul(truth.T, guess, precision=jax.lax.Precision.HIGHEST)
        return total + of_chunk.astype(jnp.int32), None

    valid_labels = jnp.where(labels == ignore_label, nothing, labels)
    pairs = jnp.stack([valid_labels.ravel(), predictions.ravel()])
    missing = -pairs.shape[1] % CHUNK
    pairs = jnp.pad(pairs, ((0, 0), (0, missing)), constant_values=nothing)
    chunks = rearrange(pairs, "two (n k) -> n two k", k=CHUNK)
    return jax.lax.scan(count, jnp.zeros((num_classes, num_classes), jnp.int32), chunks)[0]


@dataclasses.dataclass(frozen=True)
class ConfusionMatrix:
    """Pixels counted by class of the label (row) and of the prediction (column).

    Attributes:
      counts: int64.
    """

    counts: Int64[np.ndarray, "C C"]

    @classmethod
    def empty(cls, num_classes: int) -> "ConfusionMatrix":
        """Returns the matrix of no pixels."""
        return cls(np.zeros((num_classes, num_classes), np.int64))

    def merge(self, counts: Int64[np.ndarray, "C C"]) -> "ConfusionMatrix":
        """Returns the matrix of these pixels and those in `counts`."""
        return ConfusionMatrix(self.counts + counts)

    def iou(self) -> Float[np.ndarray, " C"]:
        """Returns each class's intersection over union, NaN for one that occurs nowhere."""
        hit = np.diag(self.counts).astype(float)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)

    def miou(self) -> float:
        """Returns the mean IoU of the classes in labels or predictions, NaN if there are none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else math.nan

    def pixel_accuracy(self) -> float:
        """Returns the share of labelled pixels that are right, NaN if no pixel is labelled."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else math.nan

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns `miou`, `pixel_accuracy` and `iou` by class name, ready for JSON; NaN is None."""

        def defined(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        return {
            "miou": defined(self.miou()),
            "pixel_accuracy": defined(self.pixel_accuracy()),
            "iou": {
                name: defined(value) for name, value in zip(class_names, self.iou(), strict=True)
            },
        }
