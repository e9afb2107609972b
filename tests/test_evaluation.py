"""Scoring whole images: every pixel counted once, and few programs compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import DatasetInfo, Normalize
from sassn_jax.evaluation import evaluate

CLASSES = 4
INFO = DatasetInfo("toy", ("a", "b", "c", "d"), np.zeros((CLASSES, 3), np.uint8))
SIZES = [(5, 7), (6, 4), (5, 7), (5, 7), (3, 3), (6, 4), (5, 7)]


class Toy:
    """Images whose first channel is a class id in places and noise elsewhere."""

    def __init__(self, sizes):
        rng = np.random.default_rng(0)
        self.examples = []
        for i, size in enumerate(sizes):
            label = rng.integers(0, CLASSES, size).astype(np.uint8)
            image = np.zeros((*size, 3), np.uint8)
            noise = rng.integers(0, CLASSES, size)
            image[..., 0] = np.where(rng.uniform(size=size) < 0.6, label, noise)
            label[rng.uniform(size=size) < 0.2] = 255
            self.examples.append({"image": image, "label": label, "id": str(i)})

    @property
    def ids(self):
        return [example["id"] for example in self.examples]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]


def read_off(variables, images):
    """Takes the first channel for the class; `variables` undoes the normalization."""
    classes = jnp.round(images[..., 0] * variables["std"] + variables["mean"]).astype(jnp.int32)
    return jax.nn.one_hot(classes, CLASSES)


NORMALIZE = Normalize(mean=(2.0, 0.0, 0.0), std=(3.0, 1.0, 1.0))
VARIABLES = {"std": 3.0, "mean": 2.0}


def score(source, batch_size=2, predict=read_off, **options):
    return evaluate(
        predict,
        VARIABLES,
        source,
        INFO,
        normalize=NORMALIZE,
        batch_size=batch_size,
        **options,
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_counts_every_labelled_pixel_once(batch_size):
    source = Toy(SIZES)
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    for example in source.examples:
        for pixel in np.ndindex(example["label"].shape):
            if example["label"][pixel] != 255:
                expected[example["label"][pixel], example["image"][pixel][0]] += 1
    np.testing.assert_array_equal(score(source, batch_size).counts, expected)


def test_order_of_images_does_not_matter():
    source, backwards = Toy(SIZES), Toy(SIZES)
    backwards.examples.reverse()
    np.testing.assert_array_equal(score(source).counts, score(backwards).counts)


def test_compiles_once_for_each_size_of_image():
    """A last batch that is not full is padded rather than compiled anew."""
    traced = []

    @jax.jit
    def predict(variables, images):
        traced.append(images.shape)
        return read_off(variables, images)

    score(Toy(SIZES), batch_size=3, predict=predict)
    assert sorted(traced) == [(3, 3, 3, 3), (3, 5, 7, 3), (3, 6, 4, 3)]


def test_tells_how_many_images_are_done():
    told = []
    score(Toy(SIZES), batch_size=3, on_images=told.append)
    assert sum(told) == len(SIZES)
    assert max(told) == 3


def test_no_images():
    matrix = score(Toy([]))
    assert matrix.counts.shape == (CLASSES, CLASSES)
    assert not matrix.counts.any()
