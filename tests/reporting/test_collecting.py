"""The mIoU of single images, by which a report ranks them."""

import numpy as np
import pytest

from sassn_jax.data import DatasetInfo
from sassn_jax.reporting.collecting import image_miou


@pytest.mark.parametrize("num_classes", [3, 21, 200])
def test_an_image_is_scored_whatever_the_number_of_classes(num_classes):
    """A class id times the number of classes is above 255, the largest value of a label."""
    palette = np.zeros((num_classes, 3), np.uint8)
    info = DatasetInfo("any", tuple(map(str, range(num_classes))), palette)
    rng = np.random.default_rng(0)
    label = rng.integers(0, num_classes, (6, 5)).astype(np.uint8)
    guess = np.where(rng.random(label.shape) < 0.5, label, rng.integers(0, num_classes))
    label[0, :2] = 255
    known = label != 255
    classes = np.unique([label[known], guess[known]])
    hits = [np.sum(known & (label == c) & (guess == c)) for c in classes]
    unions = [np.sum(known & ((label == c) | (guess == c))) for c in classes]
    assert image_miou(label, guess, info) == pytest.approx(np.mean(np.divide(hits, unions)))
    assert image_miou(np.full_like(label, 255), guess, info) is None
