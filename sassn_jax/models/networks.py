"""The segmentation networks: which head stands on which backbone."""

import dataclasses
from typing import Any

from sassn_jax.errors import InputError, check_name
from sassn_jax.models import resnet, vgg
from sassn_jax.models.dilation import CONTEXTS, Dilation
from sassn_jax.models.fcn8s import FCN8s
from sassn_jax.models.generator import Generator
from sassn_jax.models.heads import HEADS
from sassn_jax.models.layers import NORMS
from sassn_jax.models.resnet import LAYOUTS

SegmentationNetwork = Generator | FCN8s | Dilation

BACKBONES = (*resnet.ARCHITECTURES, *vgg.ARCHITECTURES)
OPTIONS = tuple(
    field.name
    for field in dataclasses.fields(Generator)
    if field.name not in ("num_classes", "backbone", "head", "parent", "name")
)


def heads_on(backbone: str) -> tuple[str, ...]:
    """Returns the heads that a backbone can have, by name."""
    return ("fcn8s", *CONTEXTS) if is_vgg(backbone) else tuple(HEADS)


def is_vgg(backbone: str) -> bool:
    """Whether a backbone is a VGG: its networks have no attention, norm or auxiliary head."""
    return backbone in tuple(vgg.ARCHITECTURES)


def create_network(
    num_classes: int, *, backbone: str, head: str, **options: Any
) -> SegmentationNetwork:
    """Builds a segmentation network.

    Args:
      num_classes: channels of its output.
      backbone: one of `BACKBONES`.
      head: one of `heads_on(backbone)`.
      options: fields of a `Generator`. Of a network on a VGG `dtype` and `remat` alone mean
        anything; attention and an auxiliary head it cannot have.

    Raises:
      InputError: for another backbone or head; for an option that is no such field, that names
        something unknown, or that asks for what the network cannot have.
    """
    check_name("backbone", backbone, BACKBONES)
    where = f" on backbone={backbone!r}"
    check_name("head", head, heads_on(backbone), where)
    for name in options:
        check_name("option", name, OPTIONS)
    if not is_vgg(backbone):
        return Generator(num_classes, backbone, head, **options)
    check_name("norm", options.get("norm", NORMS[0]), NORMS)
    check_name("layout", options.get("layout", LAYOUTS[0]), LAYOUTS)
    for name, nothing in (("attention", ()), ("auxiliary_head", False)):
        if options.get(name):
            raise InputError(f"{name}={options[name]!r}: expected {nothing}{where}")
    common = {name: options[name] for name in ("dtype", "remat") if name in options}
    if head in CONTEXTS:
        return Dilation(num_classes, backbone, head, **common)
    return FCN8s(num_classes, backbone, **common)


def smallest_batch(head: str) -> int:
    """Returns the smallest number of images for which a head's batch norm is defined in training.

    Devices that share a batch count together: their statistics are those of all its images.
    """
    return getattr(HEADS.get(head), "least_images", 1)
