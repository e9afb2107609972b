"""Names of other projects, spelled out."""

import pytest

from sassn_jax.weights import names

# torchvision's configuration D: an index for each convolution, ReLU and pooling.
FEATURES = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12,
    "conv3_3": 14, "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26,
    "conv5_3": 28,
}  # fmt: skip


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
def test_resnet(path, name):
    assert names.resnet_name(path) == name
    assert names.deeplabv2_name(("backbone", *path)) == name
    assert names.deeplabv3_name(("backbone", *path)) == f"backbone.{name}"


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
    assert names.deeplabv3_name(path) == name


def test_deeplabv2():
    assert names.deeplabv2_name(("head", "conv3", "bias")) == "layer5.conv2d_list.3.bias"


def test_fused_norms_are_biases():
    def name(*path):
        return names.fused_name(names.resnet_name, path)

    assert name("layer1_0", "conv2", "kernel") == "layer1.0.conv2.weight"
    assert name("layer1_0", "bn2", "bias") == "layer1.0.conv2.bias"
    assert name("layer1_0", "downsample_bn", "bias") == "layer1.0.downsample.0.bias"
    assert name("layer1_0", "bn2", "scale") is None
    assert name("bn1", "mean") is None


@pytest.mark.parametrize(("module", "index"), FEATURES.items())
def test_vgg(module, index):
    assert names.vgg_name((module, "kernel")) == f"features.{index}.weight"
