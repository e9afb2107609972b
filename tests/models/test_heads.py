"""The heads against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.models.heads import AuxiliaryHead, DeepLabV2Head, DeepLabV3Head
from tests.trees import random_variables

from .test_layers import draw, naive_conv

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize("rates", [(1,), (1, 2), (2, 3, 6)])
def test_is_the_sum_of_dilated_classifiers(rates):
    features = draw(2, 7, 8, 6)
    head = DeepLabV2Head(num_classes=3, rates=rates)
    variables = random_variables(head, features)
    assert set(variables["params"]) == {f"conv{i}" for i in range(len(rates))}
    expected = 0.0
    for i, rate in enumerate(rates):
        conv = variables["params"][f"conv{i}"]
        expected = expected + naive_conv(features, conv["kernel"], 1, rate, rate) + conv["bias"]
    np.testing.assert_allclose(
        head.apply(variables, jnp.asarray(features)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("rates", "count"), [((6, 12, 18, 24), 1_548_372), ((6, 12), 774_186)])
def test_parameter_count_for_voc(rates, count):
    features = jax.ShapeDtypeStruct((1, 41, 41, 2048), "float32")
    shapes = jax.eval_shape(DeepLabV2Head(21, rates).init, jax.random.key(0), features)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_kernels_start_small():
    params = DeepLabV2Head(21).init(jax.random.key(0), jnp.zeros((1, 3, 3, 256)))
    for conv in params["params"].values():
        np.testing.assert_allclose(np.std(conv["kernel"]), 0.01, rtol=0.02)
        assert not np.any(conv["bias"])


def naive_branch(x, variables, conv, dilation):
    """Convolution, norm by running statistics, ReLU."""
    params, norm = variables["params"], conv.replace("conv", "bn")
    kernel = params[conv]["kernel"]
    y = naive_conv(x, kernel, 1, dilation, dilation * (len(kernel) // 2))
    stats, affine = variables["batch_stats"][norm], params[norm]
    normalized = (y - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    return np.maximum(normalized * affine["scale"] + affine["bias"], 0)


def naive_classifier(x, variables):
    classifier = variables["params"]["classifier"]
    return naive_conv(x, classifier["kernel"], 1, 1, 0) + classifier["bias"]


def test_deeplabv3_joins_parallel_branches_and_the_mean(monkeypatch):
    monkeypatch.setattr("sassn_jax.models.heads.ASPP_FEATURES", 8)
    features, rates = draw(2, 7, 6, 5), (2, 3)
    head = DeepLabV3Head(num_classes=3, rates=rates)
    variables = random_variables(head, features)
    convs = {"conv0", "conv1", "conv2", "pool_conv", "project_conv", "last_conv"}
    norms = {name.replace("conv", "bn") for name in convs}
    assert set(variables["params"]) == convs | norms | {"classifier"}
    branches = [naive_branch(features, variables, "conv0", 1)]
    for i, rate in enumerate(rates, start=1):
        branches.append(naive_branch(features, variables, f"conv{i}", rate))
    mean = features.mean((1, 2), keepdims=True)
    pooled = naive_branch(mean, variables, "pool_conv", 1)
    branches.append(np.broadcast_to(pooled, branches[0].shape))
    x = naive_branch(np.concatenate(branches, axis=-1), variables, "project_conv", 1)
    x = naive_branch(x, variables, "last_conv", 1)
    expected = naive_classifier(x, variables)
    np.testing.assert_allclose(
        head.apply(variables, jnp.asarray(features)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("images", "groups"), [(1, 1), (2, 2)])
def test_deeplabv3_does_not_train_on_one_image_of_a_group(monkeypatch, images, groups):
    """Its mean over an image has no variance then; PyTorch refuses it too."""
    monkeypatch.setattr("sassn_jax.models.heads.ASPP_FEATURES", 8)
    features = jnp.asarray(draw(images, 4, 5, 6))
    head = DeepLabV3Head(num_classes=2, rates=(1,))
    variables = random_variables(head, features)
    assert head.apply(variables, features).shape == (images, 4, 5, 2)
    rngs = {"dropout": jax.random.key(0)}
    with pytest.raises(ValueError, match=f"{images} images in {groups} groups: expected at least"):
        head.apply(variables, features, train=True, groups=groups, rngs=rngs)


def test_the_auxiliary_head_is_a_small_classifier():
    features = draw(2, 5, 6, 8)
    head = AuxiliaryHead(num_classes=3)
    variables = random_variables(head, features, train=False)
    assert variables["params"]["conv"]["kernel"].shape == (3, 3, 8, 2)
    expected = naive_classifier(naive_branch(features, variables, "conv", 1), variables)
    got = head.apply(variables, jnp.asarray(features), train=False)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", [DeepLabV3Head(2, (1,)), AuxiliaryHead(2)])
def test_dropout_is_drawn_in_training_alone(head, monkeypatch):
    monkeypatch.setattr("sassn_jax.models.heads.ASPP_FEATURES", 8)
    features = jnp.asarray(draw(2, 4, 4, 8))
    variables = random_variables(head, features, train=False)

    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return head.apply(variables, features, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    np.testing.assert_array_equal(train(1), train(1))
    assert np.abs(train(1) - train(2)).max() > 1e-3
    head.apply(variables, features, train=False)  # without a random stream
