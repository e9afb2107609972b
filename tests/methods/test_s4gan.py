"""s4GAN: its own loss against NumPy, and what a step depends on. The step itself is in parity."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.methods.s4gan import S4GAN, S4GANWeights, feature_matching_loss
from sassn_jax.methods.supervised import Supervised
from sassn_jax.models.generator import Generator
from sassn_jax.models.image_discriminator import ImageDiscriminator

from .conftest import CLASSES, make_batch, segmenter


@pytest.fixture(scope="module")
def method():
    return S4GAN(
        generator=segmenter(
            Generator(CLASSES, backbone="resnet_tiny", attention=(), aspp_rates=(1, 2))
        ),
        discriminator=ImageDiscriminator(),
        discriminator_optimizer=optax.sgd(1.0),
        weights=S4GANWeights(threshold=0.0),
    )


@pytest.fixture(scope="module")
def compiled(method):
    """The state at step 0, and the step, compiled once for all tests."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    state = jax.jit(method.init)(jax.random.key(0), make_batch())
    step = jax.jit(method.step).lower(state, make_batch()).compile()
    jax.config.update("jax_disable_most_optimizations", before)
    return state, step


@pytest.mark.usefixtures("strict_dtypes", "strict_ranks")
def test_feature_matching_is_the_distance_of_means():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(4, 7)), rng.normal(size=(1, 7))
    labeled = np.array([True, True, False, True])
    loss, gradient = jax.value_and_grad(feature_matching_loss, argnums=1)(
        jnp.asarray(real, "float32"), jnp.asarray(fake, "float32"), jnp.asarray(labeled)
    )
    difference = real[labeled].sum(0) / 3 - fake[0]
    np.testing.assert_allclose(loss, np.abs(difference).sum() / 7, rtol=1e-6)
    np.testing.assert_allclose(gradient[0], -np.sign(difference) / 7, rtol=1e-6)
    loss, gradient = jax.value_and_grad(feature_matching_loss, argnums=1)(
        jnp.asarray(real, "float32"), jnp.asarray(fake, "float32"), jnp.zeros(4, bool)
    )
    assert loss == 0
    assert not gradient.any()


def test_health_metrics_and_every_image_above_a_threshold_of_0(compiled):
    state, step = compiled
    new, metrics = step(state, make_batch())
    assert set(metrics) == {
        "loss/cross_entropy", "loss/feature_matching", "loss/self_training", "loss/generator",
        "loss/discriminator", "confidence/fake", "confidence/real", "self_training/kept",
        "self_training/precision", "gradient_norm/generator", "gradient_norm/discriminator",
        "skipped/generator", "skipped/discriminator",
    }  # fmt: skip
    assert metrics["self_training/kept"] == pytest.approx(1)
    expected = (
        metrics["loss/cross_entropy"]
        + 0.1 * metrics["loss/feature_matching"]
        + 1.0 * metrics["loss/self_training"]
    )
    np.testing.assert_allclose(metrics["loss/generator"], expected, rtol=1e-6)
    assert new.step == 1


def test_labels_of_unlabeled_images_change_a_metric_alone(compiled):
    state, step = compiled
    batch = make_batch()
    unknown = {**batch["unlabeled"], "label": jnp.full_like(batch["unlabeled"]["label"], 255)}
    new, metrics = step(state, batch)
    other, other_metrics = step(state, {**batch, "unlabeled": unknown})
    for name in ("generator", "discriminator"):
        jax.tree.map(np.testing.assert_array_equal, getattr(new, name), getattr(other, name))
    assert 0 <= metrics.pop("self_training/precision") <= 1
    assert np.isnan(other_metrics.pop("self_training/precision"))
    assert metrics == other_metrics


def test_labels_that_are_all_ignored_give_a_finite_step(compiled):
    state, step = compiled
    batch = make_batch()
    batch["labeled"]["label"] = jnp.full_like(batch["labeled"]["label"], 255)
    new, metrics = step(state, batch)
    assert metrics["loss/cross_entropy"] == 0
    assert metrics["loss/feature_matching"] == metrics["confidence/real"] == 0
    for leaf in jax.tree.leaves((new.generator, new.discriminator)):
        assert np.all(np.isfinite(leaf))


def test_channels_that_are_dropped_follow_the_step(compiled):
    state, step = compiled
    scores = [
        step(state.replace(step=jnp.int32(n)), make_batch())[1]["loss/discriminator"]
        for n in (3, 3, 4)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_where_nothing_is_unlabeled_it_is_supervised_training(method, compiled):
    """The same computation, to the last operation; D stays as it is."""
    state, _ = compiled
    batch = {"labeled": make_batch()["labeled"]}
    supervised = Supervised(method.generator)
    ours, theirs = (str(jax.make_jaxpr(x.step)(state, batch)) for x in (method, supervised))
    assert ours == theirs
    assert method.unlabeled_from == 0
    assert method.confidence(state, jnp.ones((1, 32, 32, CLASSES))) is None
