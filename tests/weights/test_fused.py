import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from sassn_jax.weights import load_backbone, whiten

REAL = pathlib.Path(__file__).parents[3] / "shared" / "weights" / "resnet50_thin.npz"


def features(backbone, variables, images):
    """The trunk's two outputs in evaluation, and what each convolution gave on the way."""

    @jax.jit
    def run(variables, images):
        return backbone.apply(
            variables,
            images,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: "conv" in (module.name or ""),
        )

    stages, state = run(variables, images)
    outputs = traverse_util.flatten_dict(state["intermediates"])
    return stages, {path[:-1]: x for path, (x,) in outputs.items() if "conv" in path[-2]}


@pytest.fixture(scope="module")
def whitened(tiny, images):
    backbone, variables = tiny
    return whiten(backbone, variables, images)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 49, 33, 3))


def test_convolutions_get_unit_variance_and_the_function_stays(tiny, whitened, images):
    backbone, variables = tiny
    stages, outputs = features(backbone, whitened, images)
    assert len(outputs) == 1 + 4 * 4  # the stem, and four convolutions in each of four blocks
    batch_stats = traverse_util.flatten_dict(whitened["batch_stats"])
    for path, x in outputs.items():
        norm = (*path[:-1], path[-1].replace("conv", "bn"))
        np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-3, err_msg=str(path))
        mean = batch_stats[*norm, "mean"]
        np.testing.assert_allclose(x.mean((0, 1, 2)), mean, atol=1e-3, err_msg=str(path))
    before, _ = features(backbone, variables, images)
    for x, y in zip(stages, before, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5 * np.abs(y).max())


def test_other_images_give_the_same_features_too(tiny, whitened):
    backbone, variables = tiny
    images = 3 + 2 * jax.random.normal(jax.random.key(2), (2, 49, 33, 3))
    got, _ = features(backbone, whitened, images)
    want, _ = features(backbone, variables, images)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5 * np.abs(y).max())


def test_batch_statistics_of_that_batch_give_the_same_function(tiny, whitened, images):
    """So that training with `batch_frozen_affine` starts where the file's network stands."""
    backbone, variables = tiny
    learner = ResNet(ARCHITECTURES["resnet_tiny"], norm="batch_frozen_affine")
    train = jax.jit(functools.partial(learner.apply, train=True, mutable=["batch_stats"]))
    (_, got), _ = train(whitened, images)
    (_, want), _ = features(backbone, variables, images)
    np.testing.assert_allclose(got, want, atol=2e-3 * np.abs(want).max())


def test_a_silent_channel_stays_finite_and_silent(tiny, images):
    backbone, variables = tiny
    flat = dict(traverse_util.flatten_dict(variables))
    kernel = flat["params", "layer2_0", "conv2", "kernel"].copy()
    kernel[..., 3] = 0
    flat["params", "layer2_0", "conv2", "kernel"] = kernel
    whitened = whiten(backbone, traverse_util.unflatten_dict(flat), images)
    assert (whitened["params"]["layer2_0"]["conv2"]["kernel"][..., 3] == 0).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(whitened))


def test_the_given_trees_are_left_alone(tiny, images):
    backbone, variables = tiny
    before = jax.tree.map(np.copy, variables)
    whiten(backbone, variables, images)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


@pytest.mark.skipif(not REAL.exists(), reason=f"the real weights are not at {REAL}")
def test_the_real_network_keeps_its_function():
    backbone = ResNet(ARCHITECTURES["resnet50_thin"], norm="frozen")
    shapes = jax.eval_shape(
        lambda: backbone.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    fused, _ = load_backbone(REAL, shapes)
    images = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    whitened = whiten(backbone, fused, images)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(whitened))
    forward = jax.jit(functools.partial(backbone.apply, train=False))
    got, want = forward(whitened, images), forward(fused, images)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-5 * np.abs(y).max())
