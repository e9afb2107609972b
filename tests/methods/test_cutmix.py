"""CutMix against its objective, written out with a forward of a network for each kind of image."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods.cutmix import CutMix, CutMixWeights, consistency_loss
from sassn_jax.methods.views import half_boxes
from tests.trees import assert_trees_close

from .conftest import (
    CLASSES,
    SIZE,
    TinyGenerator,
    make_batch,
    segmenter,
    tiny_state,
    with_generator,
)

pytestmark = pytest.mark.usefixtures("fast_compile")

WEIGHTS = CutMixWeights(ema_decay=0.9, lambda_consistency=3.0, threshold=0.5815)


@pytest.fixture(scope="module")
def method():
    return CutMix(segmenter(TinyGenerator(CLASSES)), WEIGHTS)


@pytest.fixture(scope="module")
def taught(method):
    """A student, and a teacher that is not like it."""
    student = tiny_state(method.generator.network)
    teacher = jax.tree.map(lambda x: 1.1 * x, student.generator.variables)
    return student.replace(teacher=teacher)


@pytest.fixture(scope="module")
def step(method):
    return jax.jit(method.step)


@pytest.fixture(scope="module")
def boxes(taught):
    """Those of the step."""
    rng, _, _ = jax.random.split(jax.random.fold_in(taught.rng, taught.step), 3)
    return np.asarray(half_boxes(rng, 2, SIZE))


@functools.partial(jax.jit, static_argnames="method")
def written_out(method, state, batch, boxes):
    """Objective, gradient, statistics after both passes, targets."""
    labels = batch["labeled"]["label"]
    first = batch["unlabeled"]["image"]
    second = jnp.concatenate([first[1:], first[:1]])
    inside = boxes[..., None].astype(jnp.float32)

    def predict(params, batch_stats, images):
        logits, new = method.generator.network.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return jax.nn.softmax(logits), new["batch_stats"]

    def objective(params):
        probabilities, stats = predict(
            params, state.generator.collections["batch_stats"], batch["labeled"]["image"]
        )
        of_label = jnp.sum(jax.nn.one_hot(labels, CLASSES) * probabilities, axis=-1)
        log_of_label = jnp.log(jnp.where(labels != 255, of_label, 1))
        supervised = -jnp.mean(log_of_label, where=labels != 255)
        unmixed, _ = predict(state.teacher["params"], state.teacher["batch_stats"], first)
        partners = jnp.concatenate([unmixed[1:], unmixed[:1]])
        targets = unmixed * (1 - inside) + partners * inside
        mixed, stats = predict(params, stats, first * (1 - inside) + second * inside)
        filled = ~batch["unlabeled"]["valid"]
        filled = jnp.where(boxes, jnp.concatenate([filled[1:], filled[:1]]), filled)
        distance = jnp.mean(jnp.sum((mixed - targets) ** 2, axis=-1) * ~filled)
        share = jnp.mean(jnp.max(targets, axis=-1) >= WEIGHTS.threshold)
        return supervised + 3.0 * distance * share, (stats, targets, share)

    return jax.value_and_grad(objective, has_aux=True)(state.generator.params)


@pytest.mark.usefixtures("strict_ranks")
def test_consistency_loss_of_numpy():
    rng = np.random.default_rng(0)
    maps = rng.dirichlet(np.full(5, 0.3), (2, 2, 7, 9))  # two sets of maps, in float64
    predictions, targets = maps.astype(np.float32)
    valid = rng.random((2, 7, 9)) < 0.6
    loss_of = jax.jit(functools.partial(consistency_loss, threshold=0.7))
    loss, confident = loss_of(*maps, valid)
    trusted = targets.max(axis=-1) >= 0.7
    assert 0.3 < trusted.mean() < 0.7
    expected = (((maps[0] - maps[1]) ** 2).sum(axis=-1) * valid).mean() * trusted.mean()
    np.testing.assert_array_equal(confident, trusted)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    gradient = jax.grad(lambda p, t: loss_of(p, t, valid)[0], argnums=(0, 1))
    of_predictions, of_targets = gradient(jnp.asarray(predictions), jnp.asarray(targets))
    expected = 2 * (maps[0] - maps[1]) * valid[..., None] * trusted.mean() / trusted.size
    np.testing.assert_allclose(of_predictions, expected, rtol=1e-4, atol=1e-9)
    assert np.all(of_targets == 0)


def test_no_confident_target_no_loss():
    maps = jnp.full((1, 3, 4, 2), 0.5)
    everywhere = jnp.ones((1, 3, 4), bool)
    loss, confident = consistency_loss(maps * 0, maps, everywhere, 0.51)
    assert loss == 0
    assert not np.any(confident)
    assert consistency_loss(maps * 0, maps, everywhere, 0.5)[0] == 0.5
    assert consistency_loss(maps * 0, maps, ~everywhere, 0.5)[0] == 0  # all of it filled in


def test_step_is_the_authors(method, taught, step, boxes):
    batch = make_batch()
    (loss, (stats, targets, share)), gradient = written_out(method, taught, batch, boxes)
    new, metrics = step(taught, batch)

    assert 0.2 < share < 0.8
    np.testing.assert_allclose(metrics["loss/generator"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["consistency/kept"], share, rtol=1e-6)
    taken = jax.tree.map(
        lambda x, y: np.float64(x) - y, taught.generator.params, new.generator.params
    )
    assert_trees_close(taken, gradient, 1e-4)
    assert_trees_close(new.generator.collections["batch_stats"], stats, 1e-4)
    expected = jax.tree.map(
        lambda old, x: 0.9 * np.float64(old) + 0.1 * np.float64(x),
        taught.teacher,
        new.generator.variables,
    )
    assert set(expected) == {"params", "batch_stats"}
    assert_trees_close(new.teacher, expected, 1e-6)

    labels = np.asarray(batch["unlabeled"]["label"])
    mixed = np.where(boxes, labels[::-1], labels)
    counted = (np.max(targets, axis=-1) >= WEIGHTS.threshold) & (mixed != 255)
    right = (np.argmax(targets, axis=-1) == mixed)[counted].mean()
    np.testing.assert_allclose(metrics["consistency/precision"], right, rtol=1e-4)


def test_cross_entropy_takes_confident_classes_for_labels(method, taught):
    weights = dataclasses.replace(WEIGHTS, loss="cross_entropy")
    method = dataclasses.replace(method, weights=weights)
    batch = make_batch()
    _, (_, metrics) = jax.jit(method.objective)(taught.generator.params, taught, batch)
    images, targets, valid, labels = map(np.asarray, method.student_view(taught, batch))
    assert 0 < valid.mean() < 1

    network, state = method.generator.network, taught.generator
    _, stats = network.apply(
        state.variables, batch["labeled"]["image"], train=True, mutable=["batch_stats"]
    )
    variables = {"params": state.params, **stats}
    logits, _ = network.apply(variables, jnp.asarray(images), train=True, mutable=["batch_stats"])
    probabilities = jax.nn.softmax(np.asarray(logits, np.float64))
    found = targets.argmax(axis=-1)
    teaches = valid & (targets.max(axis=-1) >= WEIGHTS.threshold)
    of_found = np.take_along_axis(np.asarray(probabilities), found[..., None], axis=-1)[..., 0]
    expected = -(np.log(of_found) * teaches).sum() / valid.sum()
    assert 0.2 < teaches.mean() < 0.8
    np.testing.assert_allclose(metrics["loss/consistency"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["consistency/kept"], teaches.sum() / valid.sum(), rtol=1e-6)
    right = (found == labels)[teaches & (labels != 255)].mean()
    np.testing.assert_allclose(metrics["consistency/precision"], right, rtol=1e-4)
    total = metrics["loss/cross_entropy"] + 3.0 * metrics["loss/consistency"]
    np.testing.assert_allclose(metrics["loss/generator"], total, rtol=1e-6)


def test_a_step_repeats_itself_and_a_later_one_does_not(taught, step):
    """Boxes follow seed and step; labels of unlabelled images change a metric alone."""
    batch = make_batch()
    new, metrics = step(taught, batch)
    unknown = {**batch["unlabeled"], "label": jnp.full_like(batch["unlabeled"]["label"], 255)}
    again, more = step(taught, {**batch, "unlabeled": unknown})
    jax.tree.map(
        np.testing.assert_array_equal,
        (new.generator, new.teacher),
        (again.generator, again.teacher),
    )
    assert np.isnan(more["consistency/precision"])
    assert more["loss/consistency"] == metrics["loss/consistency"]
    _, later = step(taught.replace(step=taught.step + 1), batch)
    assert later["loss/consistency"] != metrics["loss/consistency"]
    assert later["loss/cross_entropy"] == metrics["loss/cross_entropy"]


def test_labels_that_are_all_ignored_give_a_finite_step(taught, step):
    batch = make_batch()
    ignored = {**batch["labeled"], "label": jnp.full_like(batch["labeled"]["label"], 255)}
    new, metrics = step(taught, {**batch, "labeled": ignored})
    assert metrics["loss/cross_entropy"] == metrics["skipped/generator"] == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((new.generator, new.teacher)))


def test_without_unlabeled_images_it_is_supervised_with_a_teacher(taught, step):
    new, metrics = step(taught, {"labeled": make_batch()["labeled"]})
    assert metrics.keys() == {
        "loss/generator",
        "loss/cross_entropy",
        "gradient_norm/generator",
        "skipped/generator",
    }
    average = jax.tree.map(lambda t, x: 0.9 * t + 0.1 * x, taught.teacher, new.generator.variables)
    assert_trees_close(new.teacher, average, 1e-6)


def test_the_only_image_of_a_batch_is_its_own_partner(method, taught):
    """Consistency then asks the student to predict what the teacher does, box or not."""
    batch = jax.tree.map(lambda x: x[:1], make_batch())
    objective = jax.jit(method.objective)
    loss, _ = objective(taught.generator.params, taught, batch)
    other = taught.replace(rng=jax.random.key(9))
    assert objective(taught.generator.params, other, batch)[0] == loss


def test_a_batch_in_pieces_is_the_batch(method, taught):
    """The objective; that a gradient in pieces is the gradient, `test_supervised` shows."""
    frozen = with_generator(method, network=method.generator.network.clone(norm="frozen"))
    (_, (_, whole)), (_, (_, pieces)) = (
        jax.jit(with_generator(frozen, accumulation=n).objective)(
            taught.generator.params, taught, make_batch()
        )
        for n in (1, 2)
    )
    assert whole["loss/consistency"] > 0
    for name, value in whole.items():
        np.testing.assert_allclose(pieces[name], value, rtol=1e-4, err_msg=name)


def test_the_teacher_begins_as_the_student_and_is_what_predicts(method):
    state = method.init(jax.random.key(0), make_batch())
    jax.tree.map(np.testing.assert_array_equal, state.teacher, state.generator.variables)
    for x, y in zip(
        jax.tree.leaves(state.teacher), jax.tree.leaves(state.generator.variables), strict=True
    ):
        assert x is not y  # or the step could not take over the memory of both
    assert method.inference_variables(state) is state.teacher
    assert method.unlabeled_from == 0
    late = dataclasses.replace(method, weights=CutMixWeights(start=7, ema_warm_up=True))
    assert late.unlabeled_from == 7
    assert late.teacher.warm_up
