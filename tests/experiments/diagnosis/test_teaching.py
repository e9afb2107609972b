import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.diagnosis import teaching
from sassn_jax.methods.cutmix import CutMix
from tests.experiments.diagnosis.conftest import CLASSES, make_batch, with_labels
from tests.methods.conftest import PixelGenerator

pytestmark = pytest.mark.usefixtures("fast_compile")
LOSSES = {
    "sassn": "self_training",
    "cutmix": "consistency",
    "cutmix with cross entropy": "consistency",
    "unimatch": "strong1",
}


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def learned(state):
    return state.generator.params, state.teacher


def start(create, count=2):
    """A batch, the state before it, and the threshold that half of its pixels pass."""
    batch, method = make_batch(count), create(0.0)
    state = method.init(jax.random.key(0), batch)
    targets = jax.jit(teaching.own_targets, static_argnums=0)(method, state, batch)
    return batch, state, float(jnp.median(targets.trust))


@pytest.mark.slow  # as the next two: a step of each method is compiled
def test_targets_are_those_of_the_step(name, create):
    batch, state, threshold = start(create, 1)  # of one image, which CutMix mixes with itself
    method = create(threshold)

    @jax.jit
    def both(state, batch):
        return teaching.own_targets(method, state, batch), method.step(state, batch)[1]

    (found, _, passes), metrics = both(state, batch)
    right = np.asarray(found == batch["unlabeled"]["label"])
    assert 0.4 < np.mean(passes) < 0.6
    health = "self_training" if name == "sassn" else "consistency"
    assert metrics[f"{health}/kept"] == pytest.approx(np.mean(passes))
    assert metrics[f"{health}/precision"] == pytest.approx(np.mean(right[passes]))


@pytest.mark.slow
def test_right_pixels_and_no_others_teach(name, create):
    batch, state, threshold = start(create)
    method = create(threshold)

    @jax.jit
    def learn(state, batch):
        targets = teaching.own_targets(method, state, batch)
        return targets.found, *teaching.learn_right_pixels(method, state, batch, targets)

    found, *_ = learn(state, batch)
    _, new, metrics = learn(state, with_labels(batch, found))
    # The threshold of CutMix leaves no pixel out, and weighs the right ones as in its own step.
    every_pixel, _ = jax.jit((method if name == "cutmix" else create(0.0)).step)(state, batch)
    assert_close(learned(new), learned(every_pixel))
    assert metrics[f"loss/{LOSSES[name]}"] > 0
    no_pixel, _ = jax.jit(create(1.0).step)(state, batch)
    for useless in ((found + 1) % CLASSES, jnp.full_like(found, 255)):
        _, new, metrics = learn(state, with_labels(batch, useless))
        assert_close(learned(new), learned(no_pixel))
        assert metrics[f"loss/{LOSSES[name]}"] == 0


@pytest.mark.slow
def test_a_teacher_like_the_methods_own_teaches_the_same(create, monkeypatch):
    # A network that is the same in training as in evaluation.
    monkeypatch.setattr("sassn_jax.models.networks.Generator", PixelGenerator)
    batch, state, threshold = start(create)
    method = create(threshold)

    @jax.jit
    def learn(teacher, state, batch):
        targets = teaching.targets_of(teacher, method, state, batch)
        return teaching.learn_from(teacher, method, state, batch, targets)[0]

    new = learn(state.generator.variables, state, batch)
    assert_close(learned(new), learned(jax.jit(method.step)(state, batch)[0]))

    other = learn(jax.tree.map(lambda x: -3 * x, state.generator.variables), state, batch)
    before, after = (x.generator.params["head"]["kernel"] for x in (new, other))
    assert np.max(np.abs(before - after)) > 1e-4
    if isinstance(method, CutMix):  # its average follows the student, and not the other teacher
        expected = jax.tree.map(
            lambda old, student: 0.99 * old + 0.01 * student,
            state.teacher,
            other.generator.variables,
        )
        assert_close(other.teacher, expected)


def test_all_methods_with_a_mask_are_known():
    assert {"advsemiseg", "sassn", "cutmix", "unimatch"} <= set(teaching.NAMES)
    assert not {"supervised", "s4gan", "mittal"} & set(teaching.NAMES)
