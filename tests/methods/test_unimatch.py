"""UniMatch against its objective, written out with a forward of a network for each view."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods.consistency import UniMatchWeights, WeakToStrong, pseudo_label_loss
from sassn_jax.methods.unimatch import UniMatch
from tests.trees import assert_trees_close

from . import papers_step
from .conftest import (
    CLASSES,
    SIZE,
    TinyGenerator,
    make_adversarial,
    make_batch,
    segmenter,
    tiny_state,
    with_generator,
)
from .papers_step import confidence_threshold

pytestmark = pytest.mark.usefixtures("fast_compile")

# About half of the pixels of `make_batch` are above this threshold, and none near it.
WEIGHTS = UniMatchWeights(threshold=0.4585, lambda_strong=0.4, lambda_features=0.7)
CONSISTENCY = WeakToStrong(WEIGHTS, Normalize("bgr", (104.0, 117.0, 123.0), (57.0, 57.0, 57.0)))


@pytest.fixture(scope="module")
def method():
    return UniMatch(segmenter(TinyGenerator(CLASSES)), CONSISTENCY)


@pytest.fixture(scope="module")
def plain_state(method):
    return tiny_state(method.generator.network)


@pytest.fixture
def known_views(monkeypatch):
    """Views that can be written down: twice as bright, with one box each; all features kept."""
    boxes = np.zeros((2, *SIZE), bool)
    boxes[0, 3:20, 5:30] = boxes[1, 10:, :17] = True
    module = "sassn_jax.methods.consistency"
    monkeypatch.setattr(f"{module}.random_boxes", lambda rng, count, size: jnp.asarray(boxes))
    monkeypatch.setattr(f"{module}.strong_view", lambda rng, images, *_: 2 * images)
    monkeypatch.setattr("sassn_jax.models.generator.PERTURBATION", 0.0)
    return boxes


@functools.partial(jax.jit, static_argnames=("method", "shares"))
def written_out(method, state, batch, boxes, shares=(0.5, 0.5)):
    """Objective, gradient, statistics after all passes, the weak view's probabilities.

    `shares` are those of the supervised loss and of the consistency in the objective.
    """
    labels, images = batch["labeled"]["label"], batch["unlabeled"]["image"]
    valid = batch["unlabeled"]["valid"]

    def paste(x):
        return jnp.where(boxes.reshape(*boxes.shape, *[1] * (x.ndim - 3)), x[::-1], x)

    logits = method.generator.network.apply(state.generator.variables, images, train=False)
    weak = jax.nn.softmax(logits)
    target, confidence = jnp.argmax(weak, axis=-1), jnp.max(weak, axis=-1)

    def objective(params):
        stats = state.generator.collections["batch_stats"]

        def log_probability(images, classes):
            nonlocal stats
            logits, new = method.generator.network.apply(
                {"params": params, "batch_stats": stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            stats = new["batch_stats"]
            return jnp.sum(jax.nn.one_hot(classes, CLASSES) * jax.nn.log_softmax(logits), axis=-1)

        of_label = log_probability(batch["labeled"]["image"], labels)
        supervised = -jnp.mean(of_label, where=labels != 255)
        of_weak = log_probability(images, target) * (confidence >= WEIGHTS.threshold)
        features = -jnp.mean(of_weak, where=valid)
        sure = paste(confidence) >= WEIGHTS.threshold
        strong = [
            -jnp.mean(log_probability(paste(2 * images), paste(target)) * sure, where=paste(valid))
            for _ in range(2)
        ]
        consistency = 0.4 * sum(strong) + 0.7 * features
        return shares[0] * supervised + shares[1] * consistency, (stats, weak)

    return jax.value_and_grad(objective, has_aux=True)(state.generator.params)


@pytest.fixture(scope="module")
def jitted(method):
    return jax.jit(method.step)


@pytest.fixture
def step(jitted, known_views):
    """Compiled once, with the views known whichever test is first."""
    return jitted


@pytest.mark.usefixtures("strict_ranks")
def test_pseudo_label_loss_of_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 7, 9, 5))
    target, confidence = rng.integers(0, 5, (2, 7, 9)), rng.random((2, 7, 9))
    valid = rng.random((2, 7, 9)) < 0.6
    arrays = (jnp.asarray(x) for x in (logits.astype(np.float32), target, confidence, valid))
    got = pseudo_label_loss(*arrays, 0.7)
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    cross_entropy = log_sum - np.take_along_axis(logits, target[..., None], -1)[..., 0]
    expected = cross_entropy[(confidence >= 0.7) & valid].sum() / valid.sum()
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_step_is_the_authors(method, plain_state, step, known_views):
    batch = make_batch()
    (loss, (stats, weak)), gradient = written_out(method, plain_state, batch, known_views)
    new, metrics = step(plain_state, batch)

    np.testing.assert_allclose(metrics["loss/generator"], loss, rtol=1e-5)
    taken = jax.tree.map(
        lambda x, y: np.float64(x) - y, plain_state.generator.params, new.generator.params
    )
    assert_trees_close(taken, gradient, 1e-4)
    assert_trees_close(new.generator.collections["batch_stats"], stats, 1e-4)

    labels, valid = (np.asarray(batch["unlabeled"][name]) for name in ("label", "valid"))
    sure = np.max(weak, axis=-1) >= WEIGHTS.threshold
    assert 0.2 < sure.mean() < 0.8
    kept = sure[valid].mean()
    np.testing.assert_allclose(metrics["consistency/kept"], kept, atol=2 / sure.size)
    right = (np.argmax(weak, axis=-1) == labels)[sure & (labels != 255)].mean()
    np.testing.assert_allclose(metrics["consistency/precision"], right, atol=1e-3)


def test_labels_of_unlabeled_images_change_a_metric_alone(plain_state, step):
    batch = make_batch()
    new, metrics = step(plain_state, batch)
    unknown = {**batch["unlabeled"], "label": jnp.full_like(batch["unlabeled"]["label"], 255)}
    again, more = step(plain_state, {**batch, "unlabeled": unknown})
    jax.tree.map(np.testing.assert_array_equal, new.generator, again.generator)
    assert np.isnan(more.pop("consistency/precision"))
    del metrics["consistency/precision"]
    assert metrics == more


def test_labels_that_are_all_ignored_give_a_finite_step(plain_state, step):
    batch = make_batch()
    batch["labeled"]["label"] = jnp.full_like(batch["labeled"]["label"], 255)
    new, metrics = step(plain_state, batch)
    assert metrics["loss/cross_entropy"] == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(new.generator))


def test_a_batch_that_is_all_filled_in_teaches_nothing(plain_state, step):
    batch = make_batch()
    batch["unlabeled"]["valid"] = jnp.zeros_like(batch["unlabeled"]["valid"])
    new, metrics = step(plain_state, batch)
    for name in ("loss/strong1", "loss/strong2", "loss/features", "consistency/kept"):
        assert metrics[name] == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(new.generator))


def test_views_follow_seed_and_step_and_the_weak_one_does_not(method, plain_state):
    """The objective on a batch of one: forward alone, as it is."""
    batch = jax.tree.map(lambda x: x[:1], make_batch())
    objective = jax.jit(method.objective)
    params = plain_state.generator.params
    states = (
        plain_state,
        plain_state,
        plain_state.replace(step=plain_state.step + 1),
        plain_state.replace(rng=jax.random.key(5)),
    )
    with jax.transfer_guard("disallow"):  # as in the training loop
        results = [objective(params, state, batch) for state in states]
    first, again, later, other = (metrics for _, (_, metrics) in results)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert first["loss/strong1"] != first["loss/strong2"]
    for changed in (later, other):
        for name in ("loss/strong1", "loss/strong2", "loss/features"):
            assert changed[name] != first[name]
        assert changed["loss/cross_entropy"] == first["loss/cross_entropy"]
        assert changed["consistency/kept"] == first["consistency/kept"]
    expected = (
        first["loss/cross_entropy"]
        + 0.4 * (first["loss/strong1"] + first["loss/strong2"])
        + 0.7 * first["loss/features"]
    ) / 2
    np.testing.assert_allclose(first["loss/generator"], expected, rtol=1e-6)


def test_a_batch_in_pieces_is_the_batch(method, plain_state, known_views):
    """The objective, of networks whose statistics are frozen."""
    frozen = with_generator(method, network=method.generator.network.clone(norm="frozen"))
    (_, (_, whole)), (_, (_, pieces)) = (
        jax.jit(with_generator(frozen, accumulation=n).objective)(
            plain_state.generator.params, plain_state, make_batch()
        )
        for n in (1, 2)
    )
    for name, value in whole.items():
        np.testing.assert_allclose(pieces[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("exclude_filled", [False, True])
def test_with_the_adversarial_method_it_adds_to_equation_1(
    state, plain_state, step, known_views, exclude_filled
):
    """The consistency in full; D's objective is as it was.

    Equation (1) takes filled pixels or not as its own field says, though a batch always has them.
    """
    student, batch = plain_state.replace(discriminator=state.discriminator), make_batch()
    small = with_generator(make_adversarial(), network=TinyGenerator(CLASSES))
    threshold = confidence_threshold(small, student, batch)
    plain = make_adversarial(
        semi_start=3,
        semi_threshold=threshold,
        exclude_filled=exclude_filled,
        **papers_step.WEIGHTS,
    )
    plain = dataclasses.replace(plain, generator=small.generator)
    method = dataclasses.replace(plain, consistency=CONSISTENCY)
    assert method.unlabeled_from == 3
    assert method.takes_valid
    _, of_unimatch = step(plain_state, batch)
    params = plain_state.generator.params
    differentiate = jax.jit(jax.value_and_grad(method.generator_objective, has_aux=True))
    (objective, (forward, collections, metrics)), gradient = differentiate(params, student, batch)
    assert len(forward.logits) == len(forward.unlabeled_logits) == 2
    assert collections.keys() == {"batch_stats"}
    for name in ("loss/cross_entropy", "loss/strong1", "loss/strong2", "loss/features"):
        np.testing.assert_allclose(metrics[name], of_unimatch[name], rtol=1e-5, err_msg=name)
    assert metrics["consistency/kept"] == of_unimatch["consistency/kept"]
    assert metrics["loss/generator"] == objective

    paper = papers_step.Paper(plain, student, threshold, exclude_filled=exclude_filled)
    (equation_1, _), of_equation_1 = jax.jit(
        jax.value_and_grad(paper.generator_loss, has_aux=True)
    )(params, batch)
    (consistency, _), of_consistency = written_out(
        method, student, batch, known_views, shares=(0.0, 1.0)
    )
    np.testing.assert_allclose(objective, equation_1 + consistency, rtol=1e-5)
    assert_trees_close(gradient, jax.tree.map(jnp.add, of_equation_1, of_consistency), 1e-4)
