"""Arrays under other people's names, into trees of ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

Tree = Mapping[str, Any]
Path = tuple[str, ...]

SHOWN = 6  # differences that one line of an error tells of
EPSILON = 1e-5  # of batch norm: torchvision's, and that of `sassn_jax.models.layers.BatchNorm`
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
TRUNK_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}


def torchvision_name(path: Sequence[str]) -> str:
    """The name that torchvision, and AdvSemiSeg, give to a leaf of the trunk's tree.

    >>> torchvision_name(("layer3_2", "conv1", "kernel"))
    'layer3.2.conv1.weight'
    >>> torchvision_name(("layer3_0", "downsample_bn", "mean"))
    'layer3.0.downsample.1.running_mean'
    """
    *modules, leaf = path
    names = [TRUNK_MODULES.get(name, name.replace("_", ".")) for name in modules]
    return ".".join([*names, LEAVES.get(leaf, leaf)])


def advsemiseg_name(path: Sequence[str]) -> str:
    """The name that AdvSemiSeg gives to a leaf of a DeepLabv2's tree.

    >>> advsemiseg_name(("head", "conv2", "kernel"))
    'layer5.conv2d_list.2.weight'
    """
    part, *inside = path
    if part == "backbone":
        return torchvision_name(inside)
    conv, leaf = inside
    return f"layer5.conv2d_list.{conv.removeprefix('conv')}.{LEAVES.get(leaf, leaf)}"


def deeplabv3_name(path: Sequence[str], num_rates: int) -> str:
    """The name that torchvision gives to a leaf of a DeepLabv3's tree.

    >>> deeplabv3_name(("head", "pool_bn", "mean"), num_rates=3)
    'classifier.0.convs.4.2.running_mean'
    >>> deeplabv3_name(("auxiliary", "classifier", "bias"), num_rates=3)
    'aux_classifier.4.bias'
    """
    part, *inside = path
    if part == "backbone":
        return f"backbone.{torchvision_name(inside)}"
    module, leaf = inside
    if part == "auxiliary":
        modules = {"conv": "0", "bn": "1", "classifier": "4"}
        return f"aux_classifier.{modules[module]}.{LEAVES.get(leaf, leaf)}"
    modules = {"last_conv": "1", "last_bn": "2", "classifier": "4"}
    modules |= {"project_conv": "0.project.0", "project_bn": "0.project.1"}
    for i in range(num_rates + 1):
        modules |= {f"conv{i}": f"0.convs.{i}.0", f"bn{i}": f"0.convs.{i}.1"}
    pool = f"0.convs.{num_rates + 1}"  # whose first module is the pooling
    modules |= {"pool_conv": f"{pool}.1", "pool_bn": f"{pool}.2"}
    return f"classifier.{modules[module]}.{LEAVES.get(leaf, leaf)}"


def discriminator_name(path: Sequence[str]) -> str:
    """The name that AdvSemiSeg gives to a leaf of D's tree.

    >>> discriminator_name(("conv5", "kernel"))
    'classifier.weight'
    """
    conv, leaf = path
    return f"{'classifier' if conv == 'conv5' else conv}.{LEAVES.get(leaf, leaf)}"


def fill(
    tree: Tree, arrays: dict[str, np.ndarray], name_of: Callable[[Path], str | None]
) -> tuple[dict[str, Any], list[str]]:
    """Fills a tree from arrays under PyTorch's names, kernels OIHW.

    Args:
      tree: names and shapes to fill.
      arrays: those that find a place are taken out.
      name_of: the array's name for a leaf, None for a norm that the file has fused away.

    Returns:
      A tree of the same structure, float32, without what is missing; and a line for each array that
      is missing, of another shape, or holds anything but finite floating-point numbers.
    """
    filled, problems = {}, []
    for path, leaf in traverse_util.flatten_dict(tree).items():
        shape, name = np.shape(leaf), name_of(path)
        if name is None:
            filled[path] = _norm_without_effect(path[-1], shape)
            continue
        axes = (2, 3, 1, 0) if path[-1] == "kernel" else tuple(range(len(shape)))  # OIHW -> HWIO
        shape_in_file = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
        array = arrays.pop(name, None)
        if array is None:
            problems.append(f"{name} {shape_in_file} is missing")
        elif array.shape != shape_in_file:
            problems.append(f"{name} is {array.shape}, expected {shape_in_file}")
        elif not jnp.issubdtype(array.dtype, jnp.floating):  # which knows bfloat16 too
            problems.append(f"{name} is of {array.dtype}, expected floating-point numbers")
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                filled[path] = array.transpose(axes).astype(np.float32)
            if not np.isfinite(filled[path]).all():
                problems.append(f"{name} holds NaN, or numbers that are infinite in float32")
    return traverse_util.unflatten_dict(filled), problems


def fused_name(name_of: Callable[[Path], str], path: Path) -> str | None:
    """As `name_of`, for a file whose convolutions have the biases of the norms behind them."""
    *modules, layer, leaf = path
    if leaf == "kernel":
        return name_of(path)
    if leaf == "bias":
        return name_of((*modules, layer.replace("bn", "conv"), leaf))
    return None


def summary(problems: Sequence[str], shown: int = SHOWN) -> str:
    """Joins lines into one, the first few of them.

    >>> summary(["a is missing", "b is missing"], shown=1)
    '2 differ: a is missing; ...'
    """
    more = "; ..." if len(problems) > shown else ""
    return f"{len(problems)} differ: {'; '.join(problems[:shown])}{more}"


def _norm_without_effect(leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    # The norm divides by sqrt(var + EPSILON), which is then 1.
    value = {"scale": 1.0, "mean": 0.0, "var": 1.0 - EPSILON}[leaf]
    return np.full(shape, value, np.float32)
