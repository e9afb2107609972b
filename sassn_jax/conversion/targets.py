"""The networks that a file of another project can hold, and that project's names for them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from sassn_jax.conversion.conventions import CAFFE_TRUNK, CONVENTIONS
from sassn_jax.errors import InputError
from sassn_jax.models.generator import AUXILIARY
from sassn_jax.models.networks import BACKBONES, create_network, heads_on, is_vgg
from sassn_jax.models.resnet import ARCHITECTURES
from sassn_jax.weights import fused, names

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Head:
    """A kind of head, as a project builds and names it.

    Attributes:
      convention: that of the project.
      rates: the dilations of the head.
      classifier: the array whose first axis is the classes.
      name_of: returns the project's name for a leaf of the whole network's tree.
      dead: regular expression for the names of arrays that the project's code never evaluates.
    """

    convention: str
    rates: tuple[int, ...]
    classifier: str
    name_of: Callable[..., str]
    dead: str = ""


HEADS = {
    # AdvSemiSeg returns from within its loop over the branches: the first two alone were trained.
    "deeplabv2": Head(
        "advsemiseg",
        (6, 12),
        "layer5.conv2d_list.0.weight",
        names.deeplabv2_name,
        dead=r"layer5\.conv2d_list\.[23]\.(weight|bias)",
    ),
    "deeplabv3": Head("torchvision", (12, 24, 36), "classifier.4.weight", names.deeplabv3_name),
}
ALL_BRANCHES = dataclasses.replace(HEADS["deeplabv2"], rates=(6, 12, 18, 24), dead="")
# Name of the head, "" for none, and of the trunk.
NETWORKS = {name: ("", name) for name in BACKBONES} | {
    f"{head}_{trunk}": (head, trunk) for head in HEADS for trunk in ARCHITECTURES
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A network to fill from a file.

    Attributes:
      shapes: of its variables.
      name_of: returns the file's name for a leaf; None for a leaf of a norm that is fused.
      about: the description of the network, see `weights.store.write`.
      dead: as in `Head`.
    """

    shapes: Mapping[str, Any]
    name_of: Callable[..., str | None]
    about: dict[str, Any]
    dead: str


def make_target(
    source: Path,
    arrays: Arrays,
    architecture: str,
    convention: str | None,
    all_branches: bool,
) -> Target:
    """Returns the network to fill: a trunk, or a trunk with a head.

    The arguments are those of `import_weights`; `arrays` are those in the file `source`.

    Raises:
      InputError: if the number of classes cannot be read from the arrays.
    """
    head, trunk = NETWORKS[architecture]
    model: dict[str, Any] = {"backbone": trunk}
    parts, num_classes, is_fused, dead = ["backbone"], None, False, ""
    name_of: Callable[..., str | None]
    if head:
        of_head = ALL_BRANCHES if all_branches else HEADS[head]
        usual, name_of, dead = of_head.convention, of_head.name_of, of_head.dead
        num_classes = _count_classes(source, arrays, of_head.classifier)
        has_auxiliary = any(name.startswith("aux_classifier.") for name in arrays)
        parts += ["head", AUXILIARY] if has_auxiliary else ["head"]
        model |= {"head": head, "aspp_rates": of_head.rates, "auxiliary_head": has_auxiliary}
    else:
        usual = "caffe" if trunk == CAFFE_TRUNK else "torchvision"
        is_fused = fused.is_fused(arrays)
        in_trunk = names.vgg_name if is_vgg(trunk) else names.resnet_name
        name_of = functools.partial(_trunk_name, in_trunk, is_fused)
    image = dataclasses.asdict(CONVENTIONS[convention or usual])
    model["layout"] = image.pop("layout")
    options = {"head": heads_on(trunk)[0], "attention": (), **model}
    network = create_network(num_classes or 1, **options)
    shapes = {
        collection: {part: tree[part] for part in parts if part in tree}
        for collection, tree in _shapes(network).items()
    }
    about = {"model": model, "image": image, "num_classes": num_classes, "fused": is_fused}
    return Target(shapes, name_of, about, dead)


@functools.cache  # a program that imports several files traces each network once
def _shapes(network: nn.Module) -> Mapping[str, Any]:
    """Returns the shapes of a network's variables."""
    return jax.eval_shape(
        functools.partial(network.init, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"),
    )


def _trunk_name(in_trunk: Callable[..., str], is_fused: bool, path: tuple[str, ...]) -> str | None:
    _, *inside = path
    return names.fused_name(in_trunk, inside) if is_fused else in_trunk(inside)


def _count_classes(source: Path, arrays: Arrays, classifier: str) -> int:
    if classifier not in arrays or arrays[classifier].ndim != 4:
        raise InputError(
            f"source={str(source)!r}: has no kernel {classifier}, which gives the number of "
            f"classes, but {', '.join(list(arrays)[:3])}, ...; choose another architecture of "
            f"{', '.join(NETWORKS)}"
        )
    return len(arrays[classifier])
