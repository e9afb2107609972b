"""What is pasted from labelled images, and what it then teaches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods.copy_paste import CopyPaste
from sassn_jax.methods.cutmix import CutMix, CutMixWeights

from .conftest import CLASSES, TinyGenerator, make_batch, segmenter, tiny_state

pytestmark = pytest.mark.usefixtures("fast_compile")

# 20 pixels of class 0, 12 of 1, 5 of 2, 2 of 3, one that is not known.
LABELS = np.repeat([0, 1, 2, 3, 255], [20, 12, 5, 2, 1]).reshape(2, 4, 5).astype(np.int32)


def choose(labels, seed=0, **settings):
    draw = jax.jit(CopyPaste(**settings).choose, static_argnums=2)
    return np.asarray(draw(jax.random.key(seed), jnp.asarray(labels), 4))


@pytest.mark.parametrize(
    ("rarer_than", "rare"), [(0.0, []), (0.1, [3]), (0.3, [2, 3]), (0.31, [1, 2, 3])]
)
def test_pixels_of_rare_classes_are_pasted(rarer_than, rare):
    pasted = choose(LABELS, share=1.0, rarer_than=rarer_than)
    np.testing.assert_array_equal(pasted, np.isin(LABELS, rare))


def test_a_share_of_the_images_takes_part():
    labels = np.full((2000, 1, 2), 1, np.int32)
    labels[:, 0, 1] = 0
    labels[0] = 1
    pasted = choose(labels, share=0.3, rarer_than=0.5)
    np.testing.assert_array_equal(pasted.any(axis=(1, 2)), pasted.any(axis=1)[:, 1])
    assert abs(pasted.any(axis=(1, 2)).mean() - 0.3) < 0.04
    assert not np.array_equal(pasted, choose(labels, seed=1, share=0.3, rarer_than=0.5))
    assert not choose(labels, share=0.0, rarer_than=0.5).any()


@pytest.mark.parametrize("labels", [np.full((1, 3, 5), 255), np.full((1, 3, 5), 2)])
def test_nothing_is_rare_where_nothing_is_labelled_or_all_is_of_one_class(labels):
    assert not choose(labels, share=1.0, rarer_than=1.0).any()


def test_pasted_pixels_teach_their_labels():
    method = CutMix(
        segmenter(TinyGenerator(CLASSES)), CutMixWeights(), CopyPaste(share=1.0, rarer_than=0.3)
    )
    student = tiny_state(method.generator.network)
    state, batch = student.replace(teacher=student.generator.variables), make_batch()
    batch["labeled"]["label"] = jnp.where(batch["labeled"]["label"] == 1, 0, 2)
    batch["labeled"]["label"] = batch["labeled"]["label"].at[0, :5].set(3).at[1, 0].set(255)
    batch["unlabeled"]["valid"] = batch["unlabeled"]["valid"].at[0].set(False)
    images, targets, valid, labels = jax.jit(method.student_view)(state, batch)
    without = dataclasses.replace(method, copy_paste=CopyPaste())
    plain = jax.jit(without.student_view)(state, batch)

    truth = np.asarray(batch["labeled"]["label"])
    pasted = (truth == 3) | (truth == 0)  # the rest is of class 2
    assert 0.2 < pasted.mean() < 0.4
    of_images = np.asarray(batch["labeled"]["image"])
    np.testing.assert_array_equal(images, np.where(pasted[..., None], of_images, plain[0]))
    np.testing.assert_array_equal(targets[pasted], np.eye(CLASSES)[truth[pasted]])
    np.testing.assert_array_equal(targets[~pasted], plain[1][~pasted])
    np.testing.assert_array_equal(valid, np.asarray(plain[2]) | pasted)
    np.testing.assert_array_equal(labels, np.where(pasted, 255, plain[3]))
    assert 0 < np.asarray(plain[2])[pasted].mean() < 1  # some were filled in
