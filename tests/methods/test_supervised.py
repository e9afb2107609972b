"""Training on labels alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.methods.supervised import Supervised
from tests.trees import assert_trees_close

from .conftest import CLASSES, SIZE, make_adversarial, make_batch


@pytest.fixture(scope="module")
def method():
    return Supervised(make_adversarial().generator, optax.sgd(1.0))


@pytest.fixture
def labeled_state(state):
    return state.replace(discriminator=None)


@pytest.fixture(scope="module")
def step(method):
    return jax.jit(method.step)


def test_step_descends_equation_2(method, labeled_state, step):
    batch = make_batch()["labeled"]
    before = labeled_state.generator

    def loss(params):
        logits, new = method.generator.apply(
            {"params": params, **before.collections},
            batch["image"],
            train=True,
            mutable=["batch_stats"],
        )
        one_hot = jax.nn.one_hot(batch["label"], CLASSES)
        of_label = jnp.sum(one_hot * jax.nn.softmax(logits), axis=-1)
        valid = batch["label"] != 255
        log_of_label = jnp.log(jnp.where(valid, of_label, 1))
        return -jnp.mean(log_of_label, where=valid), new["batch_stats"]

    (expected, stats), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(before.params)
    new, metrics = step(labeled_state, {"labeled": batch})
    np.testing.assert_allclose(metrics["loss/generator"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["gradient_norm/generator"],
        np.sqrt(sum(np.sum(np.square(x, dtype=float)) for x in jax.tree.leaves(gradient))),
        rtol=1e-3,
    )
    taken = jax.tree.map(lambda x, y: np.float64(x) - y, before.params, new.generator.params)
    assert_trees_close(taken, gradient, 2e-3)
    assert_trees_close(new.generator.collections["batch_stats"], stats, 1e-4)
    assert new.step == labeled_state.step + 1
    assert new.discriminator is None


def test_unlabeled_images_change_nothing(method, labeled_state, step):
    batch = make_batch()
    with_unlabeled, _ = step(labeled_state, batch)
    without, _ = step(labeled_state, {"labeled": batch["labeled"]})
    for x, y in zip(
        jax.tree.leaves(with_unlabeled.generator), jax.tree.leaves(without.generator), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    assert method.unlabeled_from is None


def test_predict_gives_probabilities_by_running_statistics(method, labeled_state):
    images = make_batch()["labeled"]["image"]
    predict = jax.jit(method.predict)
    together = predict(labeled_state.generator.variables, images)
    assert together.shape == (2, *SIZE, CLASSES)
    np.testing.assert_allclose(together.sum(-1), 1, rtol=1e-5)
    alone = predict(labeled_state.generator.variables, images[:1])
    np.testing.assert_allclose(alone, together[:1], rtol=1e-3, atol=1e-5)


def test_there_is_no_confidence(method, labeled_state):
    assert method.confidence(labeled_state, jnp.ones((1, *SIZE, CLASSES))) is None
