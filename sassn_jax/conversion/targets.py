"""The networks that a file of another project can hold, and what that project calls them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sassn_jax.conversion.conventions import CAFFE_TRUNK, CONVENTIONS
from sassn_jax.errors import InputError
from sassn_jax.models.discriminator import MINIMUM_SIZE, Discriminator
from sassn_jax.models.generator import AUXILIARY
from sassn_jax.models.networks import BACKBONES, create_network, heads_on, is_vgg
from sassn_jax.models.resnet import ARCHITECTURES
from sassn_jax.weights import fused, matching, vgg

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Head:
    """How a project names and makes a network of one kind of head.

    Attributes:
      convention: the usual one.
      rates: of the head.
      classifier: the array whose first axis is the classes.
      name_of: the project's name for a leaf of our tree.
      dead: regular expression for names of arrays that the project's code never evaluates.
    """

    convention: str
    rates: tuple[int, ...]
    classifier: str
    name_of: Callable[[tuple[str, ...]], str]
    dead: str = ""


HEADS = {
    # AdvSemiSeg's `return` stands in the loop over the branches: what trained it was the first two.
    "deeplabv2": Head(
        "advsemiseg",
        (6, 12),
        "layer5.conv2d_list.0.weight",
        matching.advsemiseg_name,
        dead=r"layer5\.conv2d_list\.[23]\.(weight|bias)",
    ),
    "deeplabv3": Head(
        "torchvision",
        (12, 24, 36),
        "classifier.4.weight",
        functools.partial(matching.deeplabv3_name, num_rates=3),
    ),
}
ALL_BRANCHES = dataclasses.replace(HEADS["deeplabv2"], rates=(6, 12, 18, 24), dead="")
DISCRIMINATOR = "discriminator"
TRUNKS = {name: ("", name) for name in BACKBONES}
WHOLE = {f"{head}_{trunk}": (head, trunk) for head in HEADS for trunk in ARCHITECTURES}
NAMES = (*TRUNKS, *WHOLE, DISCRIMINATOR)


@dataclasses.dataclass(frozen=True)
class Target:
    """A network to fill.

    Attributes:
      shapes: of its variables.
      name_of: the project's name for a leaf, None for a norm that the file has fused away.
      about: what is known of it, see `weights.store.write`.
      dead: regular expression for names of arrays that the project's code never evaluates.
    """

    shapes: Mapping[str, Any]
    name_of: Callable[[tuple[str, ...]], str | None]
    about: dict[str, Any]
    dead: str = ""


def generator(
    source: Path,
    arrays: Arrays,
    architecture: str,
    convention: str | None,
    all_branches: bool,
) -> Target:
    """Returns a trunk, or a whole segmentation network.

    Args:
      source: the file, for an error to name it.
      arrays: of the file.
      architecture: one of `NAMES`, but for the discriminator.
      convention: one of `CONVENTIONS`; None for the usual one.
      all_branches: whether a DeepLabv2 has all four branches of its head.

    Raises:
      InputError: if the file does not tell how many classes there are.
    """
    head, trunk = (TRUNKS | WHOLE)[architecture]
    of_head = ALL_BRANCHES if all_branches else HEADS.get(head)
    parts, num_classes = ["backbone"], None
    model: dict[str, Any] = {"backbone": trunk}
    name_of: Callable[..., str | None] = matching.advsemiseg_name  # torchvision's, for a trunk
    is_fused = not head and fused.is_fused(arrays)
    if is_fused:
        name_of = functools.partial(matching.fused_name, matching.advsemiseg_name)
    if is_vgg(trunk):
        name_of = vgg.torchvision_name
    usual = "caffe" if trunk == CAFFE_TRUNK else "torchvision"
    if of_head:
        usual, name_of = of_head.convention, of_head.name_of
        num_classes = _size(source, arrays, of_head.classifier, 0)
        has_auxiliary = any(name.startswith("aux_classifier.") for name in arrays)
        parts += ["head", AUXILIARY] if has_auxiliary else ["head"]
        model |= {"head": head, "aspp_rates": of_head.rates, "auxiliary_head": has_auxiliary}
    chosen = dataclasses.asdict(CONVENTIONS[convention or usual])
    model["layout"] = chosen.pop("layout")
    of_any_head = {"head": heads_on(trunk)[0], "attention": (), **model}
    network = create_network(num_classes or 1, **of_any_head)
    variables = _shapes(functools.partial(network.init, train=False), channels=3)
    shapes = {
        collection: {part: tree[part] for part in parts if part in tree}
        for collection, tree in variables.items()
    }
    about = {
        "network": "generator",
        "model": model,
        "image": chosen,
        "num_classes": num_classes,
        "fused": is_fused,
    }
    return Target(shapes, name_of, about, of_head.dead if of_head else "")


def discriminator(source: Path, arrays: Arrays) -> Target:
    """Returns AdvSemiSeg's discriminator.

    Raises:
      InputError: if the file does not tell how many classes there are.
    """
    num_classes = _size(source, arrays, "conv1.weight", 1)
    about = {
        "network": "discriminator",
        "model": {},
        "image": {},
        "num_classes": num_classes,
        "fused": False,
    }
    shapes = _shapes(Discriminator().init, channels=num_classes)
    return Target(shapes, matching.discriminator_name, about)


def _size(source: Path, arrays: Arrays, name: str, axis: int) -> int:
    if name not in arrays or arrays[name].ndim != 4:
        raise InputError(
            f"{str(source)!r}: has no kernel {name}, by which the classes are counted, but "
            f"{', '.join(list(arrays)[:3])}, ...; choose another architecture of {', '.join(NAMES)}"
        )
    return arrays[name].shape[axis]


def _shapes(init: Callable[..., Any], channels: int) -> Mapping[str, Any]:
    """Shapes of a network's variables, nothing computed."""
    images = jax.ShapeDtypeStruct((1, MINIMUM_SIZE, MINIMUM_SIZE, channels), "float32")
    return jax.eval_shape(init, jax.random.key(0), images)
