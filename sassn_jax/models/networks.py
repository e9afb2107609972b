"""The segmentation networks: which head stands on which backbone."""

import dataclasses
from typing import Any

from sassn_jax.errors import InputError, check_name
from sassn_jax.models import resnet, vgg, vgg_network
from sassn_jax.models.generator import Generator
from sassn_jax.models.heads import HEADS
from sassn_jax.models.vgg_network import VGGNetwork

SegmentationNetwork = Generator | VGGNetwork

BACKBONES = (*resnet.ARCHITECTURES, *vgg.ARCHITECTURES)
OPTIONS = tuple(
    field.name
    for field in dataclasses.fields(Generator)
    if field.name not in ("num_classes", "backbone", "head", "parent", "name")
)


def heads_on(backbone: str) -> tuple[str, ...]:
    """Returns the names of the heads that a backbone can have."""
    return vgg_network.HEADS if is_vgg(backbone) else tuple(HEADS)


def is_vgg(backbone: str) -> bool:
    """Whether a backbone is a VGG: its networks have no attention, norm or auxiliary head."""
    return backbone in tuple(vgg.ARCHITECTURES)


def smallest_batch(head: str) -> int:
    """Returns the smallest number of images for which a head's batch norm is defined in training.

    It is the number over all devices: they share their statistics.

    Args:
      head: a name in `heads_on(backbone)` of any backbone; 1 for any other.
    """
    return HEADS[head].smallest_batch if head in tuple(HEADS) else 1


def create_network(
    num_classes: int, *, backbone: str, head: str, **options: Any
) -> SegmentationNetwork:
    """Builds a segmentation network.

    Args:
      num_classes: channels of its output.
      backbone: one of `BACKBONES`.
      head: one of `heads_on(backbone)`.
      options: fields of a `Generator`. A network on a VGG uses `dtype` and `remat`, and refuses
        attention and an auxiliary head; its other options are only checked.

    Raises:
      InputError: for an unknown backbone, head, option or value of an option; for an option that
        the network cannot have.
    """
    check_name("backbone", backbone, BACKBONES)
    where = f" on backbone={backbone!r}"
    check_name("head", head, heads_on(backbone), where)
    for name in options:
        check_name("option", name, OPTIONS)
    if not is_vgg(backbone):
        return Generator(num_classes, backbone, head, **options)
    for name, nothing in (("attention", ()), ("auxiliary_head", False)):
        if options.get(name):
            raise InputError(f"{name}={options[name]!r}: expected {nothing}{where}")
    Generator(num_classes, **options)  # raises for an unknown value
    common = {name: options[name] for name in ("dtype", "remat") if name in options}
    return VGGNetwork(num_classes, backbone, head, **common)
