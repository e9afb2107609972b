"""Pixels that fill an unlabelled crop, in the adversarial step, where the losses leave them out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods import NetworkState
from tests.trees import assert_trees_close, random_variables

from .conftest import (
    CLASSES,
    SIZE,
    PixelDiscriminator,
    PixelGenerator,
    make_adversarial,
    make_batch,
    segmenter,
    tiny_state,
)
from .papers_step import WEIGHTS, dividing_threshold

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.fixture(scope="module")
def pixelwise():
    """A method whose networks see no neighbours, at a threshold that divides, and its state."""
    method = dataclasses.replace(
        make_adversarial(discriminator_fake="both", **WEIGHTS),
        generator=segmenter(PixelGenerator(CLASSES)),
        discriminator=PixelDiscriminator(),
    )
    maps = np.zeros((1, *SIZE, CLASSES), "float32")
    discriminator = random_variables(method.discriminator, maps, seed=4)
    state = tiny_state(method.generator.network).replace(
        discriminator=NetworkState.create(method.discriminator_optimizer, discriminator)
    )
    maps = method.predict(state.generator.variables, make_batch()["unlabeled"]["image"])
    threshold = dividing_threshold(method.confidence(state, maps))
    weights = dataclasses.replace(method.weights, semi_threshold=threshold)
    return dataclasses.replace(method, weights=weights), state


@pytest.mark.parametrize("exclude_filled", [False, True])
def test_filled_pixels_teach_nobody_where_they_are_excluded(pixelwise, exclude_filled):
    """Whatever stands there, both players' losses and gradients are the same."""
    method, state = pixelwise
    weights = dataclasses.replace(method.weights, exclude_filled=exclude_filled)
    step = jax.jit(dataclasses.replace(method, weights=weights).step)
    batch = make_batch()
    unlabeled = batch["unlabeled"]
    other = jnp.where(unlabeled["valid"][..., None], unlabeled["image"], 3.0)
    new, metrics = step(state, batch)
    new_of_other, metrics_of_other = step(
        state, batch | {"unlabeled": unlabeled | {"image": other}}
    )
    for player in ("generator", "discriminator"):
        same = [
            bool(np.all(x == y))
            for x, y in zip(
                jax.tree.leaves(getattr(new, player).params),
                jax.tree.leaves(getattr(new_of_other, player).params),
                strict=True,
            )
        ]
        assert all(same) if exclude_filled else not any(same)
    for name in ("loss/adversarial_unlabeled", "loss/self_training", "loss/discriminator",
                 "confidence/fake", "self_training/kept"):  # fmt: skip
        assert (metrics[name] == metrics_of_other[name]) == exclude_filled, name


@pytest.mark.parametrize("exclude_filled", [False, True])
def test_kept_is_the_share_of_the_pixels_that_may_be(pixelwise, exclude_filled):
    method, state = pixelwise
    batch = make_batch()
    valid = np.asarray(batch["unlabeled"]["valid"]) | (not exclude_filled)
    maps = method.predict(state.generator.variables, batch["unlabeled"]["image"])
    kept = np.asarray(method.confidence(state, maps)) > method.weights.semi_threshold
    weights = dataclasses.replace(method.weights, exclude_filled=exclude_filled)
    _, metrics = jax.jit(dataclasses.replace(method, weights=weights).step)(state, batch)
    np.testing.assert_allclose(metrics["self_training/kept"], kept[valid].mean(), rtol=1e-5)
    labels = np.asarray(batch["unlabeled"]["label"])
    known = kept & valid & (labels != 255)
    precision = (np.argmax(maps, axis=-1) == labels)[known].mean()
    np.testing.assert_allclose(metrics["self_training/precision"], precision, rtol=1e-5)


def test_unlabelled_crops_that_are_all_filled_teach_nothing(pixelwise):
    """The step is that of the labelled half alone."""
    method, state = pixelwise
    weights = dataclasses.replace(method.weights, exclude_filled=True)
    step = jax.jit(dataclasses.replace(method, weights=weights).step)
    batch = make_batch()
    batch["unlabeled"]["valid"] = jnp.zeros_like(batch["unlabeled"]["valid"])
    new, metrics = step(state, batch)
    for name in ("loss/adversarial_unlabeled", "loss/self_training", "self_training/kept"):
        assert metrics[name] == 0
    assert all(
        np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((new.generator, new.discriminator))
    )
    alone, _ = step(state, {"labeled": batch["labeled"]})
    assert_trees_close(new.generator.params, alone.generator.params, 1e-5)
    assert_trees_close(new.discriminator.params, alone.discriminator.params, 1e-5)
