"""Losses of extreme numbers: logits of 10,000, no labelled pixel, one class, nothing to average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sassn_jax import losses
from sassn_jax.methods.consistency import pseudo_label_loss
from sassn_jax.methods.cutmix import consistency_loss
from sassn_jax.methods.mittal import classification_loss, cosine_distance, filtered_softmax
from sassn_jax.methods.segmenter import self_training_health
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.models.image_discriminator import scale_to_unit

PIXELS, CLASSES = (2, 1, 3), 4
EXTREMES = [-1e4, -104.0, -1e-30, 0.0, 1e-45, 1.0, 88.8, 1e4]
MASKS = st.one_of(
    st.just(np.zeros(PIXELS, bool)), st.just(np.ones(PIXELS, bool)), arrays(bool, PIXELS)
)


def floats(*shape):
    return arrays(np.float32, shape, elements=st.sampled_from(np.float32(EXTREMES).tolist()))


CASES = st.fixed_dictionaries(
    {
        "logits": floats(*PIXELS, CLASSES),
        "confidence_logits": floats(*PIXELS),
        "labels": st.one_of(
            st.just(np.full(PIXELS, 255, np.int32)),
            st.just(np.ones(PIXELS, np.int32)),
            arrays(np.int32, PIXELS, elements=st.sampled_from([0, 1, 3, 255])),
        ),
        "mask": MASKS,
    }
)
# From logits and all of a case to a loss; each is differentiated by its logits.
LOSSES = {
    "cross_entropy": lambda x, case: losses.cross_entropy_loss(x, case["labels"]),
    "adversarial": lambda x, case: losses.adversarial_loss(x[..., 0], case["mask"]),
    "self_training": lambda x, case: losses.self_training_loss(
        x, jax.nn.sigmoid(case["confidence_logits"]), 0.2, case["mask"]
    )[0],
    "discriminator": lambda x, case: losses.discriminator_loss(
        x[..., 0], case["mask"], x[..., 1], case["labels"] != 255
    ),
    "pseudo_label": lambda x, case: pseudo_label_loss(
        x, case["labels"] % CLASSES, jax.nn.sigmoid(case["confidence_logits"]), case["mask"], 0.9
    ),
    "cutmix": lambda x, case: consistency_loss(
        jax.nn.softmax(x), jax.nn.softmax(x[::-1]), case["mask"], 0.9
    )[0],
    "classification": lambda x, case: classification_loss(x[:, 0, 0], case["labels"]),
    "cosine_distance": lambda x, case: cosine_distance(x[:, 0, 0], x[:, 0, 1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_finite(name):
    compute = jax.jit(jax.value_and_grad(LOSSES[name]))

    @settings(max_examples=60, deadline=None)
    @given(CASES)
    def check(case):
        loss, gradient = compute(case["logits"], case)
        assert np.isfinite(loss)
        assert loss >= -1e-6
        assert np.all(np.isfinite(gradient))

    check()


@settings(max_examples=60, deadline=None)
@given(floats(*PIXELS, CLASSES), arrays(bool, (2, CLASSES)))
def test_a_filtered_softmax_is_a_distribution(logits, occurring):
    probabilities = np.asarray(filtered_softmax(jnp.asarray(logits), jnp.asarray(occurring)))
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    none = ~occurring.any(-1, keepdims=True)
    assert not probabilities[
        np.broadcast_to(~(occurring | none)[:, None, None], logits.shape)
    ].any()


@pytest.mark.parametrize("hidden", [np.nan, np.inf])
def test_what_a_mask_hides_has_no_part_in_a_mean(hidden):
    values = jnp.array([[[2.0, hidden, 4.0]]] * 2)
    mask = jnp.array([[[True, False, True]]] * 2)
    mean, gradient = jax.value_and_grad(losses.masked_mean)(values, mask)
    assert mean == 3
    np.testing.assert_array_equal(gradient, np.where(mask, 0.25, 0))
    assert losses.masked_mean(values, jnp.zeros_like(mask)) == 0


def test_nothing_to_learn_from_gives_no_share_and_no_precision():
    nothing, logits = jnp.zeros(PIXELS, bool), jnp.zeros((*PIXELS, CLASSES))
    labels = jnp.full(PIXELS, 255)
    health = self_training_health(nothing, logits, labels, 255, valid=nothing)
    assert health["self_training/kept"] == 0
    assert np.isnan(health["self_training/precision"])  # which is left out of means


def test_images_of_one_value_are_scaled_to_0():
    images = jnp.full((1, 2, 2, 3), 7.0)
    np.testing.assert_array_equal(scale_to_unit(images), 0)


def test_scores_of_no_pixel_are_unknown():
    summary = ConfusionMatrix.empty(2).summary(("a", "b"))
    assert summary == {"miou": None, "pixel_accuracy": None, "iou": {"a": None, "b": None}}
