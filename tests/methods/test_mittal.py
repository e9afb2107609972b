"""The classifier's losses, its teacher, and how it filters a prediction, against NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.data import Normalize
from sassn_jax.methods import mittal
from sassn_jax.methods.mittal import ClassifierSettings, Mittal
from sassn_jax.methods.s4gan import S4GAN, S4GANWeights
from sassn_jax.methods.teacher import Teacher
from sassn_jax.models.classifier import Classifier
from sassn_jax.models.generator import Generator
from sassn_jax.models.image_discriminator import ImageDiscriminator
from tests.trees import assert_trees_close, random_variables

from .conftest import CLASSES, SIZE, make_batch, segmenter, with_generator


@pytest.fixture(scope="module")
def method():
    return Mittal(
        s4gan=S4GAN(
            segmenter(Generator(CLASSES, backbone="resnet_tiny", attention=(), aspp_rates=(1, 2))),
            ImageDiscriminator(),
            optax.sgd(1.0),
            S4GANWeights(),
        ),
        classifier=Classifier(CLASSES, "resnet_tiny", norm="frozen"),
        classifier_rate=optax.constant_schedule(1.0),
        classifier_optimizer=optax.sgd(1.0),
        settings=ClassifierSettings(burn_in=0.1, ramp=0.5, consistency=2.0),
        normalize=Normalize("bgr", (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)),
        num_steps=20,
    )


@pytest.fixture(scope="module")
def state(method):
    """Another student than teacher, and neither as it starts."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    state = jax.jit(method.init)(jax.random.key(0), make_batch())
    jax.config.update("jax_disable_most_optimizations", before)
    images = jnp.zeros((1, *SIZE, 3))
    student, teacher = (
        random_variables(method.classifier, images, seed=seed, train=False) for seed in (1, 2)
    )
    classifier = state.classifier.replace(
        params=student["params"], collections={"batch_stats": student["batch_stats"]}
    )
    return state.replace(step=jnp.int32(12), classifier=classifier, teacher=teacher)


def test_begins_with_a_teacher_that_is_the_student(method):
    shapes = jax.eval_shape(method.init, jax.random.key(0), make_batch())
    assert jax.tree.structure(shapes.teacher) == jax.tree.structure(shapes.classifier.variables)
    assert shapes.teacher["params"]["linear"]["kernel"].shape == (1, 1, 512, CLASSES)


@pytest.mark.usefixtures("strict_dtypes")
def test_classification_is_binary_cross_entropy_to_what_occurs():
    """An image without labels takes no part; classes beyond an image's do, as absent."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5)).astype(np.float32)
    labels = np.full((3, 4, 3), 255, np.int32)
    labels[0, 1:] = [[0, 3, 3], [3, 3, 0], [0, 255, 3]]
    labels[2, 0, 0] = 4
    occurring = [[1, 0, 0, 1, 0], None, [0, 0, 0, 0, 1]]
    entropies = []
    for image in (0, 2):
        for x, occurs in zip(np.float64(logits[image]), occurring[image], strict=True):
            p = 1 / (1 + np.exp(-x))
            entropies.append(-np.log(p if occurs else 1 - p))
    loss, gradient = jax.value_and_grad(mittal.classification_loss)(
        jnp.asarray(logits), jnp.asarray(labels)
    )
    np.testing.assert_allclose(loss, np.mean(entropies), rtol=1e-5)
    sigmoid = 1 / (1 + np.exp(-np.float64(logits)))
    for image in range(3):
        wanted = 0 if occurring[image] is None else (sigmoid[image] - occurring[image]) / 10
        np.testing.assert_allclose(gradient[image], wanted, atol=1e-6)
    nothing = jnp.full((2, 3, 3), 255, jnp.int32)
    assert mittal.classification_loss(jnp.asarray(logits[:2]), nothing) == 0


@pytest.mark.parametrize("label", [5, 254, -1])
def test_a_label_that_is_no_class_stands_for_none(label):
    """As the docstring has it: a compiled function cannot raise."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), "float32")
    labels = jnp.full((2, 3, 3), 255, jnp.int32).at[0, 0, 0].set(2)
    expected = mittal.classification_loss(logits[:1], labels[:1])
    beside = labels.at[0, 1, 1].set(label)
    np.testing.assert_allclose(mittal.classification_loss(logits, beside), expected, rtol=1e-6)
    alone = labels[:1].at[0, 0, 0].set(label)
    none_occurs = np.mean(np.log1p(np.exp(np.float64(logits[0]))))
    loss = mittal.classification_loss(logits[:1], alone)
    np.testing.assert_allclose(loss, none_occurs, rtol=1e-5)


def test_consistency_is_the_cosine_distance():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 5))
    expected = np.mean([1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(x, y, strict=True)])
    distance = jax.value_and_grad(mittal.cosine_distance)
    x, y = jnp.asarray(x, "float32"), jnp.asarray(y, "float32")
    loss, gradient = distance(x, y)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # Only the direction counts: nothing is gained by longer vectors.
    np.testing.assert_allclose(jnp.sum(gradient * x, axis=-1), 0, atol=1e-6)
    loss, gradient = distance(jnp.zeros_like(x), y)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.0), (2, 0.0), (3, 0.2), (7, 1.0), (12, 2.0), (19, 2.0)]
)
def test_consistency_comes_after_a_burn_in_and_grows(method, step, weight):
    """2 of 20 steps without it, 10 in which it grows."""
    np.testing.assert_allclose(method.consistency_weight(jnp.int32(step)), weight, rtol=1e-6)


def test_the_teacher_is_the_mean_of_the_first_students_then_a_moving_average():
    students = np.random.default_rng(0).normal(size=(30, 4))
    teacher = {"x": jnp.asarray(students[0], "float32")}
    follow = jax.jit(Teacher(0.95, warm_up=True).update)
    for step, student in enumerate(students[1:]):
        teacher = follow(teacher, {"x": jnp.asarray(student, "float32")}, step, jnp.bool(False))
        if step + 2 <= 20:
            expected = students[: step + 2].mean(axis=0)
        else:
            expected = 0.95 * expected + 0.05 * student
        np.testing.assert_allclose(teacher["x"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("strict_dtypes")
def test_a_filtered_class_has_no_probability_though_all_others_be_worse():
    logits = np.full((3, 2, 1, 4), -3.0, np.float32)
    logits[..., 1], logits[..., 2] = -200.0, 5.0
    occurring = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    got = mittal.filtered_softmax(jnp.asarray(logits), jnp.asarray(occurring))
    exponentials = np.exp(np.float64(logits))
    everything = exponentials / exponentials.sum(-1, keepdims=True)
    exponentials[0, ..., 2] = 0
    np.testing.assert_allclose(
        got[0], exponentials[0] / exponentials[0].sum(-1, keepdims=True), rtol=1e-6, atol=1e-30
    )
    np.testing.assert_allclose(got[1], everything[1], rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(got[2], np.broadcast_to([0, 1, 0, 0], (2, 1, 4)))


@pytest.mark.usefixtures("fast_compile")
def test_predicts_with_the_teachers_classes(method, state):
    """G's own probabilities, renormalized over the classes that the teacher sees in an image."""
    images = make_batch()["unlabeled"]["image"]
    variables = method.inference_variables(state)
    assert set(variables["params"]) == {*state.generator.params, "classifier"}
    classify = jax.jit(functools.partial(method.classifier.apply, train=False))
    seen = np.asarray(jax.nn.sigmoid(classify(state.teacher, images)))
    threshold = float(seen.max(axis=-1).mean())  # one class of one image, none of the other
    settings = dataclasses.replace(method.settings, threshold=threshold)
    got = jax.jit(dataclasses.replace(method, settings=settings).predict)(variables, images)
    plain = jax.jit(method.s4gan.predict)(state.generator.variables, images)
    for probabilities, filtered, classes in zip(plain, got, seen, strict=True):
        kept = classes >= threshold
        if not kept.any():
            kept = np.ones_like(kept)
        expected = np.where(kept, probabilities, 0)
        expected /= expected.sum(-1, keepdims=True)
        np.testing.assert_allclose(filtered, expected, rtol=1e-4, atol=1e-6)


def test_colours_are_jittered_as_the_image_had_them(method, state, monkeypatch):
    """RGB, 0-255, whatever the network takes; the student sees the result, the teacher does not."""
    shown = np.random.default_rng(0).uniform(0, 255, (2, 6, 5, 3)).astype(np.float32)
    normalized = jnp.stack([method.normalize(image) for image in shown])
    jittered, seen = [], {}

    class Spy(Classifier):
        def apply(self, variables, images, *, train, **_):
            seen[train] = images
            logits = jnp.ones((len(images), CLASSES))
            return (logits, {}) if train else logits

    monkeypatch.setattr(mittal, "photometric", lambda _, x: jittered.append(x) or x + 1)
    spied = dataclasses.replace(method, classifier=Spy(CLASSES, "resnet_tiny"))
    half = {"image": normalized, "label": jnp.zeros((2, 6, 5), jnp.int32)}
    spied.classifier_objective(state.classifier.params, state, {"labeled": half})
    np.testing.assert_allclose(jittered[0], shown, atol=1e-3)
    expected = np.stack([method.normalize(image + 1) for image in shown])
    np.testing.assert_allclose(seen[True], expected, atol=1e-4)
    np.testing.assert_array_equal(seen[False], normalized)


@pytest.mark.usefixtures("fast_compile")
def test_the_classifier_takes_a_batch_in_pieces_as_well(method, state):
    batch = jax.tree.map(lambda *x: jnp.concatenate(x), make_batch(), make_batch(seed=1))
    params = state.classifier.params
    (whole, of_pieces), gradients = zip(
        *(
            jax.jit(
                jax.value_and_grad(
                    dataclasses.replace(
                        method, s4gan=with_generator(method.s4gan, accumulation=n)
                    ).classifier_objective,
                    has_aux=True,
                )
            )(params, state, batch)
            for n in (1, 2)
        ),
        strict=True,
    )
    np.testing.assert_allclose(whole[0], of_pieces[0], rtol=1e-5)
    assert_trees_close(gradients[1], gradients[0], 1e-4)
    metrics = whole[1][1]
    np.testing.assert_allclose(
        metrics["loss/classifier"],
        metrics["loss/classification"] + 2.0 * metrics["loss/consistency"],
        rtol=1e-6,
    )
    assert metrics["classifier/consistency_weight"] == 2.0
