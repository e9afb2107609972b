"""Which of G's own predictions teach it, and on which images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trees import assert_trees_close

from .conftest import (
    CLASSES,
    SIZE,
    TinyGenerator,
    make_adversarial,
    make_batch,
    tiny_state,
    with_generator,
)
from .papers_step import Paper, confidence_threshold

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def small(state):
    """A method with a small G, which D trusts in about half of the pixels; and its state."""
    method = with_generator(make_adversarial(), network=TinyGenerator(CLASSES))
    student = tiny_state(method.generator.network).replace(discriminator=state.discriminator)
    threshold = confidence_threshold(method, student, make_batch())
    return with_weights(method, semi_threshold=threshold), student


def with_weights(method, **fields):
    return dataclasses.replace(method, weights=dataclasses.replace(method.weights, **fields))


def predicted(method, state):
    """G's probabilities for the unlabelled images, D's confidence in them, G's statistics."""
    paper, d, batch = Paper(method, state), state.discriminator, make_batch()
    params, stats = state.generator.params, state.generator.collections["batch_stats"]
    _, stats = paper.predict(params, stats, batch["labeled"]["image"])
    maps, stats = paper.predict(params, stats, batch["unlabeled"]["image"])
    return maps, paper.confidence(d.params, d.collections["spectral"], maps), stats


def test_a_pixel_needs_a_probable_class_as_well(small):
    method, state = small
    maps, confidence, _ = predicted(method, state)
    probable = np.max(maps, axis=-1)
    least = float(np.median(probable))
    strict = with_weights(method, semi_confidence=least)
    _, metrics = jax.jit(strict.step)(state, make_batch())
    keep = (confidence > method.weights.semi_threshold) & (probable >= least)
    assert 0.05 < keep.mean() < 0.45
    np.testing.assert_allclose(metrics["self_training/kept"], keep.mean(), atol=2 / keep.size)
    expected = -np.log(probable[keep]).mean()
    np.testing.assert_allclose(metrics["loss/self_training"], expected, rtol=1e-3)


def test_mixed_images_are_taught_by_the_images_as_they_are(small, monkeypatch):
    method, state = small
    boxes = np.zeros((2, *SIZE), bool)
    boxes[0, 3:20, 5:30] = boxes[1, 10:, :17] = True
    monkeypatch.setattr(
        "sassn_jax.methods.self_training.half_boxes", lambda rng, count, size: jnp.asarray(boxes)
    )
    mixing = with_weights(method, semi_mixed=True, lambda_semi=3.0)
    new, metrics = jax.jit(mixing.step)(state, make_batch())
    untaught, _ = jax.jit(with_weights(mixing, lambda_semi=0.0).step)(state, make_batch())

    def paste(x):
        return np.where(boxes.reshape(*boxes.shape, *[1] * (x.ndim - 3)), x[::-1], x)

    maps, confidence, stats = predicted(method, state)
    images = jnp.asarray(paste(np.asarray(make_batch()["unlabeled"]["image"])))
    keep = paste(np.asarray(confidence) > method.weights.semi_threshold)
    target = paste(np.argmax(maps, axis=-1))

    def loss_of(params):
        mixed, after = Paper(method, state).predict(params, stats, images)
        of_target = jnp.take_along_axis(mixed, target[..., None], axis=-1)[..., 0]
        return -jnp.sum(jnp.log(of_target) * keep) / keep.sum(), after

    (expected, stats), gradient = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(
        state.generator.params
    )
    np.testing.assert_allclose(metrics["loss/self_training"], expected, rtol=1e-4)
    taken = jax.tree.map(
        lambda x, y: (np.float64(x) - y) / 3, untaught.generator.params, new.generator.params
    )
    assert_trees_close(taken, gradient, 1e-3)
    for name, value in jax.tree.leaves_with_path(new.generator.collections["batch_stats"]):
        other = dict(jax.tree.leaves_with_path(stats))[name]
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)
