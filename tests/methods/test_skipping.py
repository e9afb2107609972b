"""An update with a number that is not finite is skipped, for the network that it is of alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.config import VOC_IMAGE
from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.cutmix import CutMix, CutMixWeights
from sassn_jax.methods.mittal import ClassifierSettings, Mittal
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.two_players import play
from sassn_jax.models.classifier import Classifier
from sassn_jax.models.image_discriminator import ImageDiscriminator

from .conftest import TinyGenerator

OPTIMIZER = optax.adam(0.1)


def make_network(scale=1.0):
    """A network in the middle of its training."""
    variables = {"params": {"x": scale * jnp.arange(1.0, 5.0)}, "statistics": {"mean": jnp.ones(3)}}
    network = NetworkState.create(OPTIMIZER, variables)
    _, opt_state = OPTIMIZER.update(network.params, network.opt_state, network.params)
    return network.replace(opt_state=opt_state)


def assert_same_bits(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def learn(loss=1.0, gradient=0.5, mean=2.0):
    return jax.jit(
        lambda network: network.learn(
            "generator",
            OPTIMIZER,
            jnp.float32(loss),
            {"x": jnp.array([0.1, 0.2, gradient, 0.3])},
            {"statistics": {"mean": jnp.array([0.0, mean, 1.0])}},
        )
    )


@pytest.mark.parametrize(
    "numbers",
    [
        {"loss": np.inf},
        {"loss": np.nan},
        {"gradient": np.nan},
        {"gradient": -np.inf},
        {"gradient": 1e25},  # finite, but its square is not
        {"mean": np.nan},
    ],
)
def test_a_number_that_is_not_finite_leaves_the_network_as_it_is(numbers):
    network = make_network()
    new, metrics = learn(**numbers)(network)
    assert metrics["skipped/generator"] == 1
    assert_same_bits(new, network)


def test_finite_numbers_give_the_step_of_the_optimizer():
    network = make_network()

    @jax.jit
    def plain(network):
        gradients = {"x": jnp.array([0.1, 0.2, 0.5, 0.3])}
        updates, opt_state = OPTIMIZER.update(gradients, network.opt_state, network.params)
        return optax.apply_updates(network.params, updates), opt_state

    new, metrics = learn()(network)
    assert metrics["skipped/generator"] == 0
    np.testing.assert_allclose(metrics["gradient_norm/generator"], np.sqrt(0.39), rtol=1e-6)
    assert_same_bits((new.params, new.opt_state), plain(network))
    assert_same_bits(new.collections, {"statistics": {"mean": jnp.array([0.0, 2.0, 1.0])}})


def make_state(**networks):
    return TrainState(jnp.int32(3), jax.random.key(0), generator=make_network(), **networks)


@pytest.mark.parametrize("bad", ["generator", "discriminator"])
def test_each_player_is_judged_by_its_own_numbers(bad):
    def objective(player):
        factor = jnp.nan if player == bad else 1.0

        def of(params, state, batch, *outputs):
            loss = factor * jnp.sum(jnp.square(params["x"]))
            return loss, (*([] if outputs else [None]), {}, {f"loss/{player}": loss})

        return of

    state = make_state(discriminator=make_network(2.0))
    segmenter = Segmenter(TinyGenerator(4), OPTIMIZER)
    players = [objective("generator"), objective("discriminator")]
    new, metrics = jax.jit(lambda s: play(segmenter, OPTIMIZER, *players, s, {}))(state)
    assert new.step == 4
    for player in ("generator", "discriminator"):
        assert metrics[f"skipped/{player}"] == (player == bad)
        before, after = getattr(state, player), getattr(new, player)
        if player == bad:
            assert_same_bits(after, before)
        else:
            assert np.all(after.params["x"] != before.params["x"])


@pytest.mark.parametrize("skipped", [False, True])
def test_a_teacher_stays_where_its_student_does(monkeypatch, skipped):
    """CutMix's G, and Mittal's classifier beside a G that learns."""
    factor = jnp.nan if skipped else 1.0

    def objective(self, params, state, batch):
        return factor * jnp.sum(jnp.square(params["x"])), ({}, {})

    def branch(self, state, batch):
        return state.replace(step=state.step + 1), {"skipped/generator": jnp.float32(0)}

    monkeypatch.setattr(CutMix, "objective", objective)
    monkeypatch.setattr(Mittal, "classifier_objective", objective)
    monkeypatch.setattr(S4GAN, "step", branch)
    student = make_network()
    teacher = jax.tree.map(lambda x: 1.1 * x, student.variables)
    segmenter = Segmenter(TinyGenerator(4), OPTIMIZER)
    cutmix = CutMix(segmenter, CutMixWeights())
    two_branches = Mittal(
        s4gan=S4GAN(segmenter, ImageDiscriminator(), OPTIMIZER, S4GANWeights()),
        classifier=Classifier(4, "resnet_tiny"),
        classifier_rate=optax.constant_schedule(1.0),
        classifier_optimizer=OPTIMIZER,
        settings=ClassifierSettings(),
        normalize=VOC_IMAGE,
        num_steps=20,
    )
    for method, state, player in (
        (cutmix, make_state(teacher=teacher), "generator"),
        (two_branches, make_state(teacher=teacher, classifier=student), "classifier"),
    ):
        new, metrics = jax.jit(method.step)(state, {})
        assert metrics[f"skipped/{player}"] == skipped
        moved = np.any(new.teacher["params"]["x"] != teacher["params"]["x"])
        assert moved == (not skipped)
        if skipped:
            assert_same_bits(
                (new.generator, new.classifier, new.teacher),
                (state.generator, state.classifier, state.teacher),
            )
        assert new.step == 4
