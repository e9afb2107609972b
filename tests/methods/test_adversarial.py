"""The semi-supervised step against the paper's, and what surrounds it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.errors import InputError
from sassn_jax.methods.adversarial import Forward, LossWeights
from tests.trees import assert_trees_close

from .conftest import (
    CLASSES,
    SIZE,
    TinyGenerator,
    kernel_matrix,
    make_adversarial,
    make_batch,
    tiny_state,
    with_generator,
)
from .papers_step import (
    WEIGHTS,
    Paper,
    confidence_threshold,
    dividing_threshold,
    iterated,
    papers_step,
)

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def unlabeled(state):
    """G's probabilities and D's confidence in them, on the unlabelled images of `make_batch`."""

    @jax.jit
    def both(state, images):
        paper = Paper(make_adversarial(), state)
        g, d = state.generator, state.discriminator
        maps, _ = paper.predict(g.params, g.collections["batch_stats"], images)
        return maps, paper.confidence(d.params, d.collections["spectral"], maps)

    return jax.device_get(both(state, make_batch()["unlabeled"]["image"]))


@pytest.fixture(scope="module")
def threshold(unlabeled):
    return dividing_threshold(unlabeled[1])


@pytest.fixture(scope="module")
def method(threshold):
    return make_adversarial(semi_threshold=threshold, discriminator_fake="both", **WEIGHTS)


@pytest.fixture(scope="module")
def step(method):
    return jax.jit(method.step)


def gradient_taken(before, after):
    """What an optimizer that subtracts the gradient has subtracted."""
    return jax.tree.map(lambda x, y: np.float64(x) - np.float64(y), before, after)


def check_step(expected_step, step, method, state, threshold, batch):
    """Losses, gradients, and the collections after a step, against the paper's."""
    fake_from = tuple(batch)
    spectral = iterated(state.discriminator)
    (g_loss, g_gradient, stats), (d_loss, d_gradient) = expected_step(
        method, state, spectral, threshold, batch, fake_from
    )

    new, metrics = step(state, batch)

    assert new.step == state.step + 1
    np.testing.assert_allclose(metrics["loss/generator"], g_loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss/discriminator"], d_loss, rtol=1e-4)
    if "unlabeled" in batch:
        assert 0.3 < metrics["self_training/kept"] < 0.7
    for before, after, gradient in (
        (state.generator, new.generator, g_gradient),
        (state.discriminator, new.discriminator, d_gradient),
    ):
        taken = gradient_taken(before.params, after.params)
        assert_trees_close(taken, gradient, 2e-3)
    assert_trees_close(new.generator.collections["batch_stats"], stats, 1e-4)
    assert_trees_close(new.discriminator.collections["spectral"], spectral, 1e-4)


def test_step_is_the_papers(state, method, step, threshold):
    """After `semi_start`. The paper's is compiled too: operation by operation it takes a minute."""
    compiled = jax.jit(papers_step, static_argnames=("method", "fake_from"))
    check_step(compiled, step, method, state, threshold, make_batch())


@pytest.mark.parametrize(("batch_size", "has_unlabeled"), [(1, False), (2, True)])
def test_step_of_a_small_network_is_the_papers(state, method, batch_size, has_unlabeled):
    """The paper's operation by operation; before `semi_start`, on a batch of one, and after it."""
    batch = jax.tree.map(lambda x: x[:batch_size], make_batch())
    small = with_generator(method, network=TinyGenerator(CLASSES))
    student = tiny_state(small.generator.network).replace(discriminator=state.discriminator)
    threshold = confidence_threshold(small, student, batch)
    weights = dataclasses.replace(method.weights, semi_threshold=threshold)
    small = dataclasses.replace(small, weights=weights)
    if not has_unlabeled:
        del batch["unlabeled"]
    check_step(papers_step, jax.jit(small.step), small, student, threshold, batch)


def test_as_in_advsemisegs_code_only_self_training_waits(state):
    """Unlabelled images take part adversarially before `semi_start`."""
    small = with_generator(make_adversarial(), network=TinyGenerator(CLASSES))
    batch, student = make_batch(), tiny_state(small.generator.network)  # at step 7
    student = student.replace(discriminator=state.discriminator)
    threshold = confidence_threshold(small, student, batch)
    plain = make_adversarial(semi_start=8, adv_from_start=True, semi_threshold=threshold, **WEIGHTS)
    method = dataclasses.replace(plain, generator=small.generator)
    assert method.unlabeled_from == 0
    objective = jax.jit(jax.value_and_grad(method.generator_objective, has_aux=True))
    params = student.generator.params
    for step, semi in ((student.step, 0), (student.step + 1, method.weights.lambda_semi)):
        (loss, _), gradient = objective(params, student.replace(step=step), batch)
        paper = Paper(method, student, threshold, lambda_semi=semi)
        expected = jax.jit(jax.value_and_grad(paper.generator_loss, has_aux=True))(params, batch)
        np.testing.assert_allclose(loss, expected[0][0], rtol=1e-5)
        assert_trees_close(gradient, expected[1], 1e-4)


def test_without_filled_pixels_the_step_is_the_papers_over_the_others(state, method):
    """Both players, D with the predictions for both halves of a batch."""
    batch = make_batch()
    small = with_generator(method, network=TinyGenerator(CLASSES))
    student = tiny_state(small.generator.network).replace(discriminator=state.discriminator)
    threshold = confidence_threshold(small, student, batch)
    weights = dataclasses.replace(method.weights, semi_threshold=threshold, exclude_filled=True)
    small = dataclasses.replace(small, weights=weights)
    assert small.takes_valid
    assert not method.takes_valid
    expected_step = functools.partial(papers_step, exclude_filled=True)
    check_step(expected_step, jax.jit(small.step), small, student, threshold, batch)


def test_labels_of_unlabeled_images_change_a_metric_alone(state, step):
    batch = make_batch()
    unknown = {**batch["unlabeled"], "label": jnp.full_like(batch["unlabeled"]["label"], 255)}
    new, metrics = step(state, batch)
    other, other_metrics = step(state, {**batch, "unlabeled": unknown})
    for x, y in zip(jax.tree.leaves(new.generator), jax.tree.leaves(other.generator), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(
        jax.tree.leaves(new.discriminator), jax.tree.leaves(other.discriminator), strict=True
    ):
        np.testing.assert_array_equal(x, y)
    assert 0 <= metrics.pop("self_training/precision") <= 1
    assert np.isnan(other_metrics.pop("self_training/precision"))
    assert metrics == other_metrics


def test_precision_is_the_share_of_kept_pixels_whose_label_is_right(
    state, step, unlabeled, threshold
):
    batch = make_batch()
    probabilities, confidence = unlabeled
    labels, guess = np.asarray(batch["unlabeled"]["label"]), np.argmax(probabilities, axis=-1)
    kept = confidence > threshold
    right = [
        guess[pixel] == labels[pixel]
        for pixel in np.ndindex(labels.shape)
        if kept[pixel] and labels[pixel] != 255
    ]
    _, metrics = step(state, batch)
    np.testing.assert_allclose(metrics["self_training/kept"], kept.mean(), atol=2 / kept.size)
    np.testing.assert_allclose(metrics["self_training/precision"], np.mean(right), atol=5e-3)


def test_labels_that_are_all_ignored_give_a_finite_step(state, step):
    batch = make_batch()
    batch["labeled"]["label"] = jnp.full_like(batch["labeled"]["label"], 255)
    new, metrics = step(state, batch)
    assert metrics["loss/cross_entropy"] == 0
    assert metrics["loss/adversarial_labeled"] == 0
    assert metrics["confidence/real"] == 0
    assert metrics["skipped/generator"] == metrics["skipped/discriminator"] == 0
    for leaf in jax.tree.leaves((new.generator, new.discriminator)):
        assert np.all(np.isfinite(leaf))


def test_health_metrics(state, step):
    _, metrics = step(state, make_batch())
    assert {name for name in metrics if not name.startswith("loss/")} == {
        "alpha/attention3", "alpha/attention4", "confidence/fake", "confidence/real",
        "gradient_norm/generator", "gradient_norm/discriminator", "self_training/kept",
        "self_training/precision", "skipped/generator", "skipped/discriminator",
        *(f"sigma/conv{i}" for i in range(1, 6)),
    }  # fmt: skip
    assert metrics["alpha/attention3"] == state.generator.params["attention3"]["alpha"]
    for i in range(1, 6):
        kernel = kernel_matrix(state.discriminator.params[f"conv{i}"]["kernel"])
        largest = np.sqrt(np.linalg.eigvalsh(kernel @ kernel.T)[-1])
        assert 0.8 * largest < metrics[f"sigma/conv{i}"] <= 1.0001 * largest
    for half in ("fake", "real"):
        assert 0 < metrics[f"confidence/{half}"] < 1


@pytest.mark.parametrize("discriminator_fake", ["labeled", "both"])
def test_whose_predictions_the_discriminator_learns_from(state, discriminator_fake):
    batch = make_batch()
    logits = np.random.default_rng(1).normal(size=(3, 2, *SIZE, CLASSES)).astype(np.float32)
    method = make_adversarial(discriminator_fake=discriminator_fake)

    @jax.jit
    def loss(logits, unlabeled_logits):
        nothing = jnp.zeros((2, *SIZE))
        forward = Forward(logits, nothing, unlabeled_logits, nothing)
        params = state.discriminator.params
        return method.discriminator_objective(params, state, batch, forward)[0]

    of_first, of_second = loss(logits[0], logits[1]), loss(logits[0], logits[2])
    if discriminator_fake == "labeled":
        assert of_first == of_second
    else:
        assert abs(of_first - of_second) > 1e-5
    assert abs(loss(logits[1], logits[2]) - of_second) > 1e-5


def test_confidence_is_a_probability_for_each_pixel(method, state):
    batch = make_batch()
    real = jax.nn.one_hot(batch["labeled"]["label"], CLASSES)
    d = state.discriminator
    expected = jax.jit(Paper(method, state).confidence)(d.params, d.collections["spectral"], real)
    got = jax.jit(method.confidence)(state, real)
    assert got.shape == (2, *SIZE)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert jnp.all((got > 0) & (got < 1))


@pytest.mark.usefixtures("fast_compile")
def test_init():
    method, batch = make_adversarial(semi_start=12), make_batch()
    assert method.unlabeled_from == 12
    init = jax.jit(method.init)
    state = init(jax.random.key(1), batch)
    assert state.step == 0
    assert state.generator.params["attention4"]["alpha"] == 0
    assert set(state.generator.collections) == {"batch_stats"}
    assert set(state.discriminator.collections) == {"spectral"}
    again = init(jax.random.key(1), batch)
    other = init(jax.random.key(2), batch)
    path = ("head", "conv0", "kernel")
    kernels = [
        functools.reduce(dict.__getitem__, path, x.generator.params) for x in (state, again, other)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])


def test_the_attention_kernels_give_the_step_of_the_reference(state, method):
    """Interpreted on a CPU. The steps are long, so that gradients show among parameters."""
    steps = {}
    for implementation in ("reference", "triton_interpret"):
        network = method.generator.network.clone(attention_implementation=implementation)
        other = with_generator(method, network=network, optimizer=optax.sgd(100.0))
        other = dataclasses.replace(other, discriminator_optimizer=optax.sgd(100.0))
        # Fused, as users run it (`make test` leaves it out): the tolerance is of few roundings.
        fused = jax.jit(other.step, compiler_options={"xla_cpu_use_fusion_emitters": True})
        steps[implementation] = fused(state, make_batch())
    (expected, expected_metrics), (new, metrics) = steps.values()
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    for before, after, expected_after in (
        (state.generator, new.generator, expected.generator),
        (state.discriminator, new.discriminator, expected.discriminator),
    ):
        taken = gradient_taken(before.params, after.params)
        wanted = gradient_taken(before.params, expected_after.params)
        for attention in taken.keys() & {"attention3", "attention4"}:
            # A bias of the keys adds the same to all scores: its gradient is rounding alone.
            del taken[attention]["key"]["bias"], wanted[attention]["key"]["bias"]
        assert_trees_close(taken, wanted, 2e-5)
        assert_trees_close(after.collections, expected_after.collections, 1e-5)


@pytest.mark.usefixtures("fast_compile")
def test_deeplabv3_with_an_auxiliary_head_learns_by_both(monkeypatch):
    """The second head's loss counts half; dropout follows the step, and both halves of a batch."""
    monkeypatch.setattr("sassn_jax.models.heads.ASPP_FEATURES", 8)
    plain = make_adversarial()
    network = plain.generator.network.clone(head="deeplabv3", attention=(), auxiliary_head=True)
    method = with_generator(plain, network=network)
    batch = make_batch()
    state = jax.jit(method.init)(jax.random.key(0), batch)
    assert "auxiliary" not in state.generator.collections
    new, metrics = jax.jit(method.step)(state, batch)
    assert jax.tree.structure(new.generator.collections) == jax.tree.structure(
        state.generator.collections
    )
    expected = (
        metrics["loss/cross_entropy"]
        + 0.5 * metrics["loss/auxiliary"]
        + method.weights.lambda_adv_labeled * metrics["loss/adversarial_labeled"]
        + method.weights.lambda_adv_unlabeled * metrics["loss/adversarial_unlabeled"]
        + method.weights.lambda_semi * metrics["loss/self_training"]
    )
    np.testing.assert_allclose(metrics["loss/generator"], expected, rtol=1e-5)
    for head in ("head", "auxiliary"):
        moved = jax.tree.map(
            lambda x, y: bool(np.any(x != y)),
            state.generator.params[head]["classifier"],
            new.generator.params[head]["classifier"],
        )
        assert all(jax.tree.leaves(moved)), head

    @jax.jit
    def forward(params, state, images):
        generator = method.generator
        return generator.forward(params, state.generator.collections, images, state.step_rng)

    images = batch["labeled"]["image"]
    logits, auxiliary, _ = forward(state.generator.params, state, images)
    labels = batch["labeled"]["label"]
    loss, _ = method.generator.label_loss(logits, auxiliary, labels)
    halves = [method.generator.label_loss(x, None, labels)[0] for x in (logits, auxiliary)]
    np.testing.assert_allclose(loss, halves[0] + 0.5 * halves[1], rtol=1e-6)
    again, _, _ = forward(state.generator.params, state, images)
    np.testing.assert_array_equal(again, logits)
    later, _, _ = forward(state.generator.params, state.replace(step=state.step + 1), images)
    assert np.abs(later - logits).max() > 1e-3


@pytest.mark.usefixtures("fast_compile")
def test_a_batch_in_pieces_is_the_batch(state, method):
    """Both players' gradients and all metrics; a piece holds images of both halves."""
    batch = jax.tree.map(lambda *x: jnp.concatenate(x), make_batch(), make_batch(seed=1))
    frozen = with_generator(method, network=method.generator.network.clone(norm="frozen"))
    maps = jax.jit(frozen.predict)(state.generator.variables, batch["unlabeled"]["image"])
    threshold = dividing_threshold(jax.jit(frozen.confidence)(state, maps))
    weights = dataclasses.replace(method.weights, semi_threshold=threshold)
    (whole, metrics), (pieces, metrics_of_pieces) = (
        jax.jit(with_generator(dataclasses.replace(frozen, weights=weights), accumulation=n).step)(
            state, batch
        )
        for n in (1, 2)
    )
    assert 0.3 < metrics["self_training/kept"] < 0.7
    for name, value in metrics.items():
        np.testing.assert_allclose(metrics_of_pieces[name], value, rtol=1e-4, err_msg=name)
    for x, y in ((pieces.generator, whole.generator), (pieces.discriminator, whole.discriminator)):
        assert_trees_close(x.params, y.params, 1e-5)


def test_other_fakes_than_the_two_kinds_are_refused():
    with pytest.raises(InputError, match="discriminator_fake='all': expected one of labeled, both"):
        LossWeights(discriminator_fake="all")


def test_images_too_small_for_d_have_no_confidence(state):
    """The pictures of a run show every validation image, of whatever size."""
    small = jnp.full((1, 31, 40, CLASSES), 1 / CLASSES)
    np.testing.assert_array_equal(
        make_adversarial().confidence(state, small), np.zeros((1, 31, 40))
    )
