"""Confusion matrices against a loop over pixels."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.metrics import CHUNK, ConfusionMatrix, count_pairs

pytestmark = pytest.mark.usefixtures("strict_dtypes", "strict_ranks")

CLASSES = 4


def draw(seed=0, shape=(2, 7, 9)):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, shape).astype(np.int32)
    labels[rng.uniform(size=shape) < 0.2] = 255
    return labels, rng.integers(0, CLASSES, shape).astype(np.int32)


def count(labels, predictions, **options):
    matrix = count_pairs(jnp.asarray(labels), jnp.asarray(predictions), CLASSES, **options)
    return matrix


def naive_iou(labels, predictions, c):
    """Intersection and union of two sets of pixels, of which ignored ones are no part."""
    pixels = [(a, b) for a, b in zip(labels.ravel(), predictions.ravel(), strict=True) if a != 255]
    intersection = sum(a == c and b == c for a, b in pixels)
    union = sum(a == c or b == c for a, b in pixels)
    return intersection / union if union else math.nan


def test_counts_pairs():
    labels, predictions = draw()
    expected = np.zeros((CLASSES, CLASSES))
    for label, prediction in zip(labels.ravel(), predictions.ravel(), strict=True):
        if label != 255:
            expected[label, prediction] += 1
    np.testing.assert_array_equal(count(labels, predictions), expected)


def test_takes_another_ignore_label():
    labels, predictions = draw()
    expected = count(labels, predictions)
    labels[labels == 255] = 3 + CLASSES
    np.testing.assert_array_equal(count(labels, predictions, ignore_label=3 + CLASSES), expected)


def test_ignore_label_may_be_a_class():
    """Cityscapes-like data whose class 0 is void."""
    labels, predictions = draw()
    matrix = count(labels, predictions, ignore_label=0)
    assert not matrix[0].any()
    assert matrix[1:].sum() == np.isin(labels, (1, 2, 3)).sum()


def test_iou_and_accuracy():
    labels, predictions = draw()
    matrix = ConfusionMatrix.empty(CLASSES).merge(count(labels, predictions))
    expected = [naive_iou(labels, predictions, c) for c in range(CLASSES)]
    np.testing.assert_allclose(matrix.iou(), expected)
    np.testing.assert_allclose(matrix.miou(), np.mean(expected))
    valid = labels != 255
    np.testing.assert_allclose(matrix.pixel_accuracy(), (labels == predictions)[valid].mean())


def test_merging_equals_counting_all_at_once():
    labels, predictions = draw(shape=(5, 6, 7))
    whole = ConfusionMatrix.empty(CLASSES).merge(count(labels, predictions))
    parts = ConfusionMatrix.empty(CLASSES)
    for i in (3, 0, 4, 1, 2):
        parts = parts.merge(count(labels[i : i + 1], predictions[i : i + 1]))
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert parts.counts.dtype == np.int64


def test_counts_are_exact_in_an_image_of_any_size():
    """float32 has no odd number beyond 2^24; some matrix products stop counting there."""
    labels = np.zeros((1, 4099, 4099), np.int32)
    predictions = np.zeros_like(labels)
    predictions[0, 0] = 1
    labels[0, 1, :7] = 255
    total = 4099 * 4099 - 7
    assert total - 4099 > 2**24
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    expected[0, :2] = total - 4099, 4099
    np.testing.assert_array_equal(count(labels, predictions), expected)


@pytest.mark.parametrize("pixels", [1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_counts_pixels_about_the_size_of_a_chunk(pixels):
    labels, predictions = draw(shape=(1, 1, pixels))
    valid = labels != 255
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(expected, (labels[valid], predictions[valid]), 1)
    np.testing.assert_array_equal(count(labels, predictions), expected)


def test_sums_stay_exact_beyond_what_float32_and_int32_count():
    many = np.array([[2**33 + 1, 1], [1, 1]])
    matrix = ConfusionMatrix.empty(2).merge(many).merge(np.array([[1, 0], [0, 0]]))
    assert matrix.counts[0, 0] == 2**33 + 2


def test_absent_class_is_nan_and_not_part_of_the_mean():
    labels = np.array([[[0, 0, 1, 1]]], np.int32)
    predictions = np.array([[[0, 1, 1, 1]]], np.int32)
    matrix = ConfusionMatrix.empty(CLASSES).merge(count(labels, predictions))
    np.testing.assert_allclose(matrix.iou(), [1 / 2, 2 / 3, np.nan, np.nan])
    np.testing.assert_allclose(matrix.miou(), (1 / 2 + 2 / 3) / 2)


def test_class_never_hit_counts_as_zero():
    """Where it is in the labels alone, and where it is in the predictions alone."""
    labels = np.array([[[0, 0, 1, 0]]], np.int32)
    predictions = np.array([[[0, 0, 0, 2]]], np.int32)
    matrix = ConfusionMatrix.empty(CLASSES).merge(count(labels, predictions))
    np.testing.assert_allclose(matrix.iou(), [2 / 4, 0, 0, np.nan])
    np.testing.assert_allclose(matrix.miou(), 0.5 / 3)


def test_prediction_on_an_ignored_pixel_makes_no_class_present():
    labels = np.array([[[0, 255]]], np.int32)
    predictions = np.array([[[0, 3]]], np.int32)
    matrix = ConfusionMatrix.empty(CLASSES).merge(count(labels, predictions))
    np.testing.assert_allclose(matrix.iou(), [1, np.nan, np.nan, np.nan])
    assert matrix.miou() == 1


def test_summary_is_json_with_none_for_what_is_undefined():
    names = ("sky", "road", "car", "dog")
    matrix = ConfusionMatrix.empty(CLASSES).merge(np.diag([2, 1, 0, 0]))
    summary = json.loads(json.dumps(matrix.summary(names), allow_nan=False))
    assert summary == {
        "miou": 1.0,
        "pixel_accuracy": 1.0,
        "iou": {"sky": 1.0, "road": 1.0, "car": None, "dog": None},
    }


def test_summary_of_no_pixels_is_all_none():
    labels = np.full((1, 2, 2), 255, np.int32)
    matrix = ConfusionMatrix.empty(CLASSES).merge(count(labels, np.zeros_like(labels)))
    assert math.isnan(matrix.miou())
    assert math.isnan(matrix.pixel_accuracy())
    summary = matrix.summary(("a", "b", "c", "d"))
    assert summary["miou"] is None
    assert summary["pixel_accuracy"] is None
    assert set(summary["iou"].values()) == {None}


def test_summary_wants_a_name_for_each_class():
    with pytest.raises(ValueError, match="zip"):
        ConfusionMatrix.empty(CLASSES).summary(("a", "b"))
