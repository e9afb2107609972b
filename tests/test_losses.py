"""Equations (2) to (5) against float64 NumPy loops over pixels, and where their gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import losses

pytestmark = pytest.mark.usefixtures("strict_dtypes", "strict_ranks")

SHAPE = (2, 3, 4)
CLASSES = 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw_logits(rng, spread=3.0):
    return (spread * rng.normal(size=(*SHAPE, CLASSES))).astype(np.float32)


def draw_labels(rng):
    """Labels with two ignored pixels; the others cover every class."""
    labels = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE) % CLASSES
    labels[0, 0, 1] = labels[1, 2, 3] = 255
    return labels


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def mean_over(values):
    return sum(values) / len(values) if values else 0.0


def numpy_cross_entropy(logits, labels):
    """Equation (2), a pixel at a time."""
    probabilities = softmax(logits)
    return mean_over(
        [
            -np.log(probabilities[pixel][labels[pixel]])
            for pixel in np.ndindex(SHAPE)
            if labels[pixel] != 255
        ]
    )


def numpy_adversarial(confidence_logits, valid):
    """Equation (3)."""
    confidence = sigmoid(confidence_logits)
    return mean_over([-np.log(confidence[pixel]) for pixel in np.ndindex(SHAPE) if valid[pixel]])


def numpy_self_training(logits, confidence, threshold, valid=None):
    """Equation (4)."""
    probabilities = softmax(logits)
    return mean_over(
        [
            -np.log(probabilities[pixel].max())
            for pixel in np.ndindex(SHAPE)
            if confidence[pixel] > threshold and (valid is None or valid[pixel])
        ]
    )


def numpy_discriminator(fake_logits, fake_valid, real_logits, real_valid):
    """Equation (5)."""
    fake, real = sigmoid(fake_logits), sigmoid(real_logits)
    of_fake = [-np.log(1 - fake[pixel]) for pixel in np.ndindex(SHAPE) if fake_valid[pixel]]
    of_real = [-np.log(real[pixel]) for pixel in np.ndindex(SHAPE) if real_valid[pixel]]
    return (mean_over(of_fake) + mean_over(of_real)) / 2


def assert_gradient_matches(loss, reference, x):
    """The gradient of `loss` against central differences of the float64 `reference`."""
    step = 1e-5
    expected = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        shift = np.zeros(x.shape)
        shift[index] = step
        expected[index] = (reference(x + shift) - reference(x - shift)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-6)


def test_cross_entropy(rng):
    logits, labels = draw_logits(rng), draw_labels(rng)
    loss = losses.cross_entropy_loss(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, numpy_cross_entropy(logits, labels), rtol=1e-6)
    assert_gradient_matches(
        lambda x: losses.cross_entropy_loss(x, jnp.asarray(labels)),
        lambda x: numpy_cross_entropy(x, labels),
        logits,
    )


@pytest.mark.parametrize(
    ("label", "counts_as"),
    [(CLASSES, None), (254, None), (-CLASSES - 1, None), (-1, CLASSES - 1), (-CLASSES, 0)],
)
def test_cross_entropy_of_a_label_that_is_no_class(rng, label, counts_as):
    """As the docstring has it: a compiled function cannot raise."""
    logits, labels = draw_logits(rng), draw_labels(rng)
    labels[1, 1, 1] = label
    loss = jax.jit(losses.cross_entropy_loss)(jnp.asarray(logits), jnp.asarray(labels))
    if counts_as is None:
        assert np.isnan(loss)
    else:
        labels[1, 1, 1] = counts_as
        np.testing.assert_allclose(loss, numpy_cross_entropy(logits, labels), rtol=1e-6)


@pytest.mark.parametrize("label", [CLASSES, 254, -1, -CLASSES])
def test_one_hot_of_a_label_that_is_no_class_is_all_zeros(rng, label):
    labels = draw_labels(rng)
    labels[1, 1, 1] = label
    maps = np.asarray(losses.one_hot(jnp.asarray(labels), CLASSES))
    assert not np.any(maps[1, 1, 1])
    assert np.sum(maps) == np.prod(SHAPE) - 3


def test_cross_entropy_takes_another_ignore_label(rng):
    logits, labels = draw_logits(rng), draw_labels(rng)
    expected = numpy_cross_entropy(logits, labels)
    labels[labels == 255] = 100
    loss = losses.cross_entropy_loss(jnp.asarray(logits), jnp.asarray(labels), ignore_label=100)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_ignored_pixels_have_no_gradient(rng):
    logits, labels = draw_logits(rng), draw_labels(rng)
    gradient = jax.grad(losses.cross_entropy_loss)(jnp.asarray(logits), jnp.asarray(labels))
    ignored = labels == 255
    assert not np.any(np.asarray(gradient)[ignored])
    assert np.all(np.any(np.asarray(gradient)[~ignored], axis=-1))


def test_all_pixels_ignored_is_zero_with_zero_gradient(rng):
    labels = jnp.full(SHAPE, 255, jnp.int32)
    loss, gradient = jax.value_and_grad(losses.cross_entropy_loss)(
        jnp.asarray(draw_logits(rng)), labels
    )
    assert loss == 0
    assert not np.any(gradient)

    none = jnp.zeros(SHAPE, bool)
    loss, gradient = jax.value_and_grad(losses.adversarial_loss)(jnp.ones(SHAPE), none)
    assert loss == 0
    assert not np.any(gradient)


def test_large_logits_stay_finite():
    logits = jnp.asarray([[[[1e4, -1e4]]]])
    labels = jnp.ones((1, 1, 1), jnp.int32)
    loss, gradient = jax.value_and_grad(losses.cross_entropy_loss)(logits, labels)
    np.testing.assert_allclose(loss, 2e4)
    assert np.all(np.isfinite(gradient))
    everywhere = jnp.ones((1, 1, 1), bool)
    certain = jnp.full((1, 1, 1), -1e4)
    np.testing.assert_allclose(losses.adversarial_loss(certain, everywhere), 1e4)
    wrong = losses.discriminator_loss(-certain, everywhere, certain, everywhere)
    np.testing.assert_allclose(wrong, 1e4)


def test_adversarial(rng):
    logits = rng.normal(size=SHAPE).astype(np.float32)
    valid = draw_labels(rng) != 255
    loss = losses.adversarial_loss(jnp.asarray(logits), jnp.asarray(valid))
    np.testing.assert_allclose(loss, numpy_adversarial(logits, valid), rtol=1e-6)
    assert_gradient_matches(
        lambda x: losses.adversarial_loss(x, jnp.asarray(valid)),
        lambda x: numpy_adversarial(x, valid),
        logits,
    )


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_self_training(rng, threshold):
    logits = draw_logits(rng)
    confidence = rng.uniform(size=SHAPE).astype(np.float32)
    loss, keep = losses.self_training_loss(jnp.asarray(logits), jnp.asarray(confidence), threshold)
    assert 0 < np.mean(keep) < 1
    np.testing.assert_array_equal(keep, confidence > threshold)
    np.testing.assert_allclose(loss, numpy_self_training(logits, confidence, threshold), rtol=1e-5)
    assert_gradient_matches(
        lambda x: losses.self_training_loss(x, jnp.asarray(confidence), threshold)[0],
        lambda x: numpy_self_training(x, confidence, threshold),
        logits,
    )


def test_self_training_on_valid_pixels_alone(rng):
    logits = draw_logits(rng)
    confidence = rng.uniform(size=SHAPE).astype(np.float32)
    valid = rng.uniform(size=SHAPE) < 0.6

    def loss(x, mask):
        return losses.self_training_loss(jnp.asarray(x), jnp.asarray(confidence), 0.4, mask)

    value, keep = loss(logits, jnp.asarray(valid))
    np.testing.assert_array_equal(keep, (confidence > 0.4) & valid)
    assert 0 < np.mean(keep) < np.mean(confidence > 0.4)
    expected = numpy_self_training(logits, confidence, 0.4, valid)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    gradient = jax.grad(lambda x: loss(x, jnp.asarray(valid))[0])(jnp.asarray(logits))
    assert not np.any(np.asarray(gradient)[~valid])
    value, gradient = jax.value_and_grad(lambda x: loss(x, jnp.zeros(SHAPE, bool))[0])(
        jnp.asarray(logits)
    )
    assert value == 0
    assert not np.any(gradient)


def test_self_training_takes_confidence_strictly_above_the_threshold(rng):
    confidence = jnp.full(SHAPE, 0.5)
    loss, keep = losses.self_training_loss(jnp.asarray(draw_logits(rng)), confidence, 0.5)
    assert not np.any(keep)
    assert loss == 0


def test_self_training_has_no_gradient_through_mask_and_target(rng):
    """Even where the confidence is itself a function of the logits, as D's is."""
    logits = draw_logits(rng)

    def own_confidence(x):
        return jnp.max(jax.nn.softmax(x), axis=-1)

    target, keep = logits.argmax(-1), np.asarray(own_confidence(jnp.asarray(logits))) > 0.6
    assert 0 < keep.mean() < 1
    # Of the mean cross entropy to a fixed target on a fixed set: (softmax - one_hot) / count.
    expected = (softmax(logits) - np.eye(CLASSES)[target]) * keep[..., None] / keep.sum()
    gradient = jax.grad(lambda x: losses.self_training_loss(x, own_confidence(x), 0.6)[0])(
        jnp.asarray(logits)
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-6)

    of_confidence = jax.grad(lambda c: losses.self_training_loss(jnp.asarray(logits), c, 0.6)[0])(
        own_confidence(jnp.asarray(logits))
    )
    assert not np.any(of_confidence)


def test_discriminator(rng):
    fake, real = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    real_valid = draw_labels(rng) != 255
    fake_valid = rng.uniform(size=SHAPE) > 0.3
    masks = jnp.asarray(fake_valid), jnp.asarray(real_valid)
    loss = losses.discriminator_loss(jnp.asarray(fake), masks[0], jnp.asarray(real), masks[1])
    expected = numpy_discriminator(fake, fake_valid, real, real_valid)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert_gradient_matches(
        lambda x: losses.discriminator_loss(x, masks[0], jnp.asarray(real), masks[1]),
        lambda x: numpy_discriminator(x, fake_valid, real, real_valid),
        fake,
    )
    assert_gradient_matches(
        lambda x: losses.discriminator_loss(jnp.asarray(fake), masks[0], x, masks[1]),
        lambda x: numpy_discriminator(fake, fake_valid, x, real_valid),
        real,
    )


def test_discriminator_that_cannot_tell_has_log_2():
    everywhere = jnp.ones(SHAPE, bool)
    nothing = jnp.zeros(SHAPE)
    loss = losses.discriminator_loss(nothing, everywhere, nothing, everywhere)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_discriminator_takes_more_fakes_than_labels():
    loss = losses.discriminator_loss(
        jnp.zeros((4, 3, 4)), jnp.ones((4, 3, 4), bool), jnp.zeros(SHAPE), jnp.ones(SHAPE, bool)
    )
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_one_hot_of_an_ignored_pixel_is_all_zeros(rng):
    labels = draw_labels(rng)
    expected = np.zeros((*SHAPE, CLASSES))
    for pixel in np.ndindex(SHAPE):
        if labels[pixel] != 255:
            expected[pixel][labels[pixel]] = 1
    np.testing.assert_array_equal(losses.one_hot(jnp.asarray(labels), CLASSES), expected)
