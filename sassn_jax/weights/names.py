"""The names that other projects give to the leaves of our parameter trees."""

from collections.abc import Callable, Sequence

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
TRUNK_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
# Of a VGG: indices in torchvision's two `Sequential`s, which count ReLU, pooling and dropout too.
VGG_STAGES = (0, 5, 10, 17, 24)  # the first convolution of each
VGG_FULLY_CONNECTED = {"fc6": "classifier.0", "fc7": "classifier.3"}
# Layers of torchvision's classifiers, ResNet's and VGG's, that a segmentation network leaves out.
UNUSED = ("fc.weight", "fc.bias", "classifier.6.weight", "classifier.6.bias")


def resnet_name(path: Sequence[str]) -> str:
    """The name in torchvision, and in AdvSemiSeg, of a leaf of a ResNet's tree.

    >>> resnet_name(("layer3_2", "conv1", "kernel"))
    'layer3.2.conv1.weight'
    >>> resnet_name(("layer3_0", "downsample_bn", "mean"))
    'layer3.0.downsample.1.running_mean'
    """
    *modules, leaf = path
    names = [TRUNK_MODULES.get(name, name.replace("_", ".")) for name in modules]
    return ".".join([*names, LEAVES.get(leaf, leaf)])


def vgg_name(path: Sequence[str]) -> str:
    """The name in torchvision of a leaf of a VGG-16's tree.

    >>> vgg_name(("conv2_1", "kernel"))
    'features.5.weight'
    >>> vgg_name(("fc6", "bias"))
    'classifier.0.bias'
    """
    module, leaf = path
    name = VGG_FULLY_CONNECTED.get(module)
    if name is None:
        stage, conv = map(int, module.removeprefix("conv").split("_"))
        name = f"features.{VGG_STAGES[stage - 1] + 2 * (conv - 1)}"
    return f"{name}.{LEAVES.get(leaf, leaf)}"


def deeplabv2_name(path: Sequence[str]) -> str:
    """The name in AdvSemiSeg of a leaf of a DeepLabv2's tree.

    >>> deeplabv2_name(("head", "conv2", "kernel"))
    'layer5.conv2d_list.2.weight'
    """
    part, *inside = path
    if part == "backbone":
        return resnet_name(inside)
    conv, leaf = inside
    return f"layer5.conv2d_list.{conv.removeprefix('conv')}.{LEAVES.get(leaf, leaf)}"


def deeplabv3_name(path: Sequence[str]) -> str:
    """The name in torchvision of a leaf of a DeepLabv3's tree.

    >>> deeplabv3_name(("head", "pool_bn", "mean"))
    'classifier.0.convs.4.2.running_mean'
    >>> deeplabv3_name(("auxiliary", "classifier", "bias"))
    'aux_classifier.4.bias'
    """
    part, *inside = path
    if part == "backbone":
        return f"backbone.{resnet_name(inside)}"
    module, leaf = inside
    if part == "auxiliary":
        modules = {"conv": "0", "bn": "1", "classifier": "4"}
        return f"aux_classifier.{modules[module]}.{LEAVES.get(leaf, leaf)}"
    modules = {"last_conv": "1", "last_bn": "2", "classifier": "4"}
    modules |= {"project_conv": "0.project.0", "project_bn": "0.project.1"}
    for i in range(4):  # a 1x1 convolution and one for each of three rates
        modules |= {f"conv{i}": f"0.convs.{i}.0", f"bn{i}": f"0.convs.{i}.1"}
    modules |= {"pool_conv": "0.convs.4.1", "pool_bn": "0.convs.4.2"}
    return f"classifier.{modules[module]}.{LEAVES.get(leaf, leaf)}"


def fused_name(name_of: Callable[[Sequence[str]], str], path: Sequence[str]) -> str | None:
    """The name of a leaf in a file whose batch norm is fused into the convolutions.

    The norm's shift is there the convolution's bias. The norm's other leaves are absent: None.

    Args:
      name_of: the name of a leaf where nothing is fused.
      path: of the leaf.
    """
    *modules, layer, leaf = path
    if leaf == "kernel":
        return name_of(path)
    if leaf == "bias":
        return name_of((*modules, layer.replace("bn", "conv"), leaf))
    return None


def is_unused(name: str) -> bool:
    """Whether a segmentation network has no use for an array with this name in PyTorch."""
    return name in UNUSED or is_counter(name)


def is_counter(name: str) -> bool:
    """Whether an array counts the batches that a norm has seen, by its name in PyTorch."""
    return name.rpartition(".")[2] == "num_batches_tracked"
