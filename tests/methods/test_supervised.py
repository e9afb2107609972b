"""Training on labels alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.supervised import Supervised
from sassn_jax.models.networks import create_network
from tests.trees import assert_trees_close, random_variables

from .conftest import (
    CLASSES,
    SIZE,
    TinyGenerator,
    make_adversarial,
    make_batch,
    tiny_state,
    with_generator,
)

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def method():
    return Supervised(make_adversarial().generator)


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
        logits, new = method.generator.network.apply(
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


@pytest.mark.usefixtures("fast_compile")
def test_a_network_on_a_vgg_learns_from_labels_alone(method):
    batch = make_batch(batch_size=1)["labeled"]
    network = create_network(CLASSES, backbone="vgg_tiny", head="fcn8s")
    variables = random_variables(network, batch["image"], train=False)
    state = TrainState(
        step=jnp.int32(0),
        rng=jax.random.key(0),
        generator=NetworkState.create(method.generator.optimizer, variables),
    )
    step = jax.jit(with_generator(method, network=network).step)
    ignored = {**batch, "label": jnp.full_like(batch["label"], 255)}
    new, metrics = step(state, {"labeled": ignored})
    assert metrics["loss/generator"] == metrics["gradient_norm/generator"] == 0
    jax.tree.map(np.testing.assert_array_equal, new.generator, state.generator)
    new, metrics = step(state, {"labeled": batch})
    assert np.isfinite(metrics["loss/generator"])
    for path, x in jax.tree.leaves_with_path(new.generator.params):
        before = functools.reduce(lambda tree, key: tree[key.key], path, variables["params"])
        assert np.all(np.isfinite(x)), path
        assert np.any(x != before), path


@pytest.mark.parametrize("norm", ["frozen", "batch_frozen_affine"])
def test_a_batch_in_pieces_is_the_batch(method, norm):
    """Losses of the whole batch, most of whose labels are in one piece; statistics of each.

    The adversarial method's test takes a whole network.
    """
    batch = jax.tree.map(lambda x: jnp.concatenate([x, x[::-1] * 2]), make_batch()["labeled"])
    batch["label"] = (
        batch["label"].at[1:3].set(255).at[3].set(make_batch(seed=1)["labeled"]["label"][0])
    )
    network = TinyGenerator(CLASSES, norm=norm)
    labeled_state = tiny_state(network)
    whole, pieces = (
        jax.jit(with_generator(method, network=network, accumulation=n).step)(
            labeled_state, {"labeled": batch}
        )
        for n in (1, 2)
    )
    stats = pieces[0].generator.collections["batch_stats"]
    if norm == "frozen":
        for name, value in whole[1].items():
            np.testing.assert_allclose(pieces[1][name], value, rtol=1e-5)
        assert_trees_close(pieces[0].generator.params, whole[0].generator.params, 1e-5)
        assert_trees_close(stats, whole[0].generator.collections["batch_stats"], 0)
        return
    variables = labeled_state.generator.variables
    for piece in (0, 1):  # every second image
        _, new = jax.jit(functools.partial(network.apply, train=True, mutable=["batch_stats"]))(
            variables, batch["image"][piece::2]
        )
        variables = {**variables, **new}
    assert_trees_close(stats, variables["batch_stats"], 1e-5)
