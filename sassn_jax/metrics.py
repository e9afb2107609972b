"""Intersection over union and pixel accuracy from confusion matrices, which add up."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped


@functools.partial(jax.jit, static_argnames=("num_classes", "ignore_label"))
def count_pairs(
    labels: Int[Array, "B H W"],
    predictions: Int[Array, "B H W"],
    num_classes: int,
    ignore_label: int = 255,
) -> Float[Array, "C C"]:
    """Counts pixels by class of the label (row) and of the prediction (column).

    A product of one-hot matrices rather than a scatter, which some GPUs do in no fixed order; exact
    up to 2^24 pixels a call.
    """
    nothing = -1  # a one-hot row of zeros
    valid_labels = jnp.where(labels == ignore_label, nothing, labels)
    truth = jax.nn.one_hot(valid_labels.ravel(), num_classes)
    guess = jax.nn.one_hot(predictions.ravel(), num_classes)
    return jnp.matmul(truth.T, guess, precision=jax.lax.Precision.HIGHEST)


@dataclasses.dataclass(frozen=True)
class ConfusionMatrix:
    """Pixels counted by class of the label (row) and of the prediction (column).

    Attributes:
      counts: int64.
    """

    counts: Shaped[np.ndarray, "C C"]

    @classmethod
    def empty(cls, num_classes: int) -> "ConfusionMatrix":
        """Returns the matrix of no pixels."""
        return cls(np.zeros((num_classes, num_classes), np.int64))

    def merge(self, counts: Shaped[np.ndarray, "C C"]) -> "ConfusionMatrix":
        """Returns the matrix of these pixels and of those in `counts`."""
        return ConfusionMatrix(self.counts + np.asarray(counts).astype(np.int64))

    def iou(self) -> Float[np.ndarray, " C"]:
        """Returns each class's intersection over union, NaN for one that occurs nowhere."""
        hit = np.diag(self.counts).astype(float)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)

    def miou(self) -> float:
        """Returns the mean IoU of the classes in labels or predictions, NaN where none is."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else math.nan

    def pixel_accuracy(self) -> float:
        """Returns the share of labelled pixels that are right, NaN where none is labelled."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else math.nan

    def summary(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns `miou`, `pixel_accuracy` and `iou` by class name, ready for JSON.

        What is undefined, such as the IoU of a class that does not occur, is None.
        """

        def defined(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        return {
            "miou": defined(self.miou()),
            "pixel_accuracy": defined(self.pixel_accuracy()),
            "iou": {
                name: defined(value) for name, value in zip(class_names, self.iou(), strict=True)
            },
        }
