"""Names of other projects, spelled out."""

import numpy as np
import pytest

from sassn_jax.weights import matching


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("conv1", "kernel"), "conv1.weight"),
        (("bn1", "scale"), "bn1.weight"),
        (("bn1", "var"), "bn1.running_var"),
        (("layer3_22", "conv2", "kernel"), "layer3.22.conv2.weight"),
        (("layer2_0", "downsample_conv", "kernel"), "layer2.0.downsample.0.weight"),
        (("layer2_0", "downsample_bn", "mean"), "layer2.0.downsample.1.running_mean"),
    ],
)
def test_trunk(path, name):
    assert matching.torchvision_name(path) == name
    assert matching.advsemiseg_name(("backbone", *path)) == name
    assert matching.deeplabv3_name(("backbone", *path), 3) == f"backbone.{name}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("head", "conv0", "kernel"), "classifier.0.convs.0.0.weight"),
        (("head", "bn0", "scale"), "classifier.0.convs.0.1.weight"),
        (("head", "conv3", "kernel"), "classifier.0.convs.3.0.weight"),
        (("head", "pool_conv", "kernel"), "classifier.0.convs.4.1.weight"),
        (("head", "pool_bn", "bias"), "classifier.0.convs.4.2.bias"),
        (("head", "project_conv", "kernel"), "classifier.0.project.0.weight"),
        (("head", "project_bn", "var"), "classifier.0.project.1.running_var"),
        (("head", "last_conv", "kernel"), "classifier.1.weight"),
        (("head", "last_bn", "mean"), "classifier.2.running_mean"),
        (("head", "classifier", "bias"), "classifier.4.bias"),
        (("auxiliary", "conv", "kernel"), "aux_classifier.0.weight"),
        (("auxiliary", "bn", "bias"), "aux_classifier.1.bias"),
        (("auxiliary", "classifier", "kernel"), "aux_classifier.4.weight"),
    ],
)
def test_deeplabv3(path, name):
    assert matching.deeplabv3_name(path, 3) == name


def test_advsemiseg():
    assert matching.advsemiseg_name(("head", "conv3", "bias")) == "layer5.conv2d_list.3.bias"
    assert matching.discriminator_name(("conv4", "bias")) == "conv4.bias"
    assert matching.discriminator_name(("conv5", "kernel")) == "classifier.weight"


def test_fused_norms_are_biases():
    def name(*path):
        return matching.fused_name(matching.torchvision_name, path)

    assert name("layer1_0", "conv2", "kernel") == "layer1.0.conv2.weight"
    assert name("layer1_0", "bn2", "bias") == "layer1.0.conv2.bias"
    assert name("layer1_0", "downsample_bn", "bias") == "layer1.0.downsample.0.bias"
    assert name("layer1_0", "bn2", "scale") is None
    assert name("bn1", "mean") is None


def test_filling_takes_what_fits_and_names_what_does_not():
    tree = {
        "a": {"kernel": np.zeros((5, 5, 2, 3)), "bias": np.zeros(3)},
        "b": {"kernel": np.zeros((1, 1, 4, 1)), "bias": np.zeros(1)},
    }
    kernel = np.arange(150.0).reshape(3, 2, 5, 5)
    arrays = {"a.weight": kernel, "b.weight": np.zeros((4, 1, 1, 1)), "c": np.zeros(2)}
    arrays["a.bias"] = np.ones(3)
    filled, problems = matching.fill(tree, arrays, matching.torchvision_name)
    assert filled.keys() == {"a"}
    assert filled["a"]["kernel"].dtype == filled["a"]["bias"].dtype == np.float32
    np.testing.assert_array_equal(filled["a"]["kernel"][3, 4, 1, 2], kernel[2, 1, 3, 4])
    assert problems == [
        "b.weight is (4, 1, 1, 1), expected (1, 4, 1, 1)",
        "b.bias (1,) is missing",
    ]
    assert arrays.keys() == {"c"}


def test_a_summary_shows_the_first():
    lines = [f"{i} is missing" for i in range(9)]
    assert matching.summary(lines, shown=2) == "9 differ: 0 is missing; 1 is missing; ..."
    assert matching.summary(lines[:2], shown=2) == "2 differ: 0 is missing; 1 is missing"
