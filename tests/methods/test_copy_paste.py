"""What is pasted from one labelled image onto another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods.copy_paste import is_rare, paste_rare
from sassn_jax.methods.state import MIXED, PASTE
from sassn_jax.methods.supervised import Supervised
from sassn_jax.training import parallel
from tests.trees import assert_trees_close

from .conftest import CLASSES, TinyGenerator, make_batch, segmenter, tiny_state

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_have_less_than_a_tenth_of_the_labelled_pixels(seed):
    rng = np.random.default_rng(seed)
    shares = [0.06, 0.2, 0.34, 0.1, 0.2, 0.1]
    labels = rng.choice([0, 1, 2, 3, 4, 255], size=(3, 5, 7), p=shares).astype(np.int32)
    known = labels != 255
    rare = [c for c in range(5) if (labels == c).sum() < 0.1 * known.sum()]
    found = jax.jit(is_rare, static_argnums=1)(jnp.asarray(labels), 5)
    np.testing.assert_array_equal(found, np.isin(labels, rare))


def test_a_class_with_a_tenth_is_not_rare():
    labels = jnp.array([[[0] * 9 + [1, 255]]])
    assert not np.any(is_rare(labels, 3))
    assert np.sum(is_rare(jnp.concatenate([labels, 0 * labels]), 3)) == 1


@pytest.mark.parametrize("label", [255, 2])
def test_nothing_is_rare_where_nothing_is_labelled_or_all_is_of_one_class(label):
    assert not np.any(is_rare(jnp.full((1, 3, 5), label), 4))


def test_the_next_image_is_pasted_onto_a_share_of_the_images():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1000, 2, 3, 3)).astype(np.float32)
    labels = rng.choice([0, 1, 255], p=[0.85, 0.05, 0.1], size=(1000, 2, 3)).astype(np.int32)
    draw = jax.jit(paste_rare, static_argnums=(3, 4))
    new_images, new_labels = draw(jax.random.key(1), images, labels, 2, 0.3)
    others, of_others = np.roll(images, -1, axis=0), np.roll(labels, -1, axis=0)
    may = of_others == 1
    takes = np.any(new_images != images, axis=(1, 2, 3))
    pasted = takes[:, None, None] & may
    np.testing.assert_array_equal(new_images, np.where(pasted[..., None], others, images))
    np.testing.assert_array_equal(new_labels, np.where(pasted, of_others, labels))
    assert abs(takes.sum() / may.any(axis=(1, 2)).sum() - 0.3) < 0.08


def test_two_devices_paste_from_each_others_images():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 5, 6, 3)).astype(np.float32)
    labels = rng.choice([0, 1], p=[0.95, 0.05], size=(4, 5, 6)).astype(np.int32)
    draw = jax.jit(paste_rare, static_argnums=(3, 4))
    alone = draw(jax.random.key(0), images, labels, 2, 0.7)
    assert np.any(alone[0] != images)
    spread = parallel.put_batch({"image": images, "label": labels}, parallel.make_mesh(2))
    shared = draw(jax.random.key(0), spread["image"], spread["label"], 2, 0.7)
    jax.tree.map(np.testing.assert_array_equal, shared, alone)


def test_the_only_image_of_a_batch_stays():
    batch = make_batch(1)["labeled"]
    new = paste_rare(jax.random.key(0), batch["image"], batch["label"], CLASSES, 1.0)
    jax.tree.map(np.testing.assert_array_equal, new, (batch["image"], batch["label"]))


def test_a_compiled_step_learns_what_was_pasted():
    method = Supervised(segmenter(TinyGenerator(CLASSES)))
    pasting = Supervised(dataclasses.replace(method.generator, paste=1.0))
    state, batch = tiny_state(method.generator.network), make_batch()
    labels = batch["labeled"]["label"].at[1].set(0).at[1, :5, :5].set(3)
    labels = labels.at[0].set(jnp.where(labels[0] == 3, 1, labels[0]))
    batch["labeled"]["label"] = labels
    inside = np.zeros(labels.shape, bool)
    inside[0, :5, :5] = True
    image = batch["labeled"]["image"]
    pasted = {
        "image": jnp.where(inside[..., None], image[::-1], image),
        "label": jnp.where(inside, 3, labels),
    }
    mesh = parallel.make_mesh(2)
    shardings = jax.tree.map(lambda _: parallel.replicated(mesh), state)
    expected, of_pasted = jax.jit(method.step)(state, {"labeled": pasted})
    _, plain = jax.jit(method.step)(state, batch)
    assert pasting.generator.augment(state, batch)["labeled"].keys() == batch["labeled"].keys()
    assert method.generator.augment(state, batch) is batch
    step = parallel.jit_step(pasting, mesh, shardings)
    new, metrics = step(jax.device_put(state, shardings), parallel.put_batch(batch, mesh))
    assert_trees_close(new.generator.params, expected.generator.params, 1e-4)
    np.testing.assert_allclose(metrics["loss/generator"], of_pasted["loss/generator"], rtol=1e-5)
    assert plain["loss/generator"] != metrics["loss/generator"]


def test_no_two_purposes_have_one_key():
    """Split keys are folded ones, so that a small number would not be a key of its own."""
    key = jax.random.key(3)
    of_purposes = [jax.random.fold_in(key, PASTE), jax.random.fold_in(key, MIXED)]
    keys = [*jax.random.split(key, 3), *jax.random.split(key, 64), *of_purposes]
    drawn = {tuple(np.asarray(jax.random.key_data(x))) for x in keys}
    assert len(drawn) == 64 + 2
