"""Other people's weights into one file of ours."""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.models.discriminator import MINIMUM_SIZE, Discriminator
from sassn_jax.models.generator import AUXILIARY
from sassn_jax.models.networks import BACKBONES, create_network, heads_on, is_vgg
from sassn_jax.models.resnet import ARCHITECTURES
from sassn_jax.training.conventions import CAFFE_TRUNK, CONVENTIONS
from sassn_jax.weights import fused, matching, npz, onnx, pth, resnet, store, vgg

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Source:
    """How a project names and makes a network of one kind of head.

    Attributes:
      convention: the usual one.
      rates: of the head.
      classifier: the array whose first axis is the classes.
      name_of: the project's name for a leaf of our tree.
    """

    convention: str
    rates: tuple[int, ...]
    classifier: str
    name_of: Callable[[tuple[str, ...]], str]


HEADS = {
    "deeplabv2": _Source(
        "advsemiseg", (6, 12, 18, 24), "layer5.conv2d_list.0.weight", matching.advsemiseg_name
    ),
    "deeplabv3": _Source(
        "torchvision",
        (12, 24, 36),
        "classifier.4.weight",
        functools.partial(matching.deeplabv3_name, num_rates=3),
    ),
}
DISCRIMINATOR = "discriminator"
TRUNKS = {name: ("", name) for name in BACKBONES}
WHOLE = {f"{head}_{trunk}": (head, trunk) for head in HEADS for trunk in ARCHITECTURES}
NAMES = (*TRUNKS, *WHOLE, DISCRIMINATOR)
WRAPPERS = ("module.", "Scale.")  # of DataParallel, and of DeepLab's training at several scales


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
      about: what the file says of its network, see `weights.store.write`.
      taken: how many arrays of the source are in it.
      left_out: name and shape of each that is not.
    """

    about: dict[str, Any]
    taken: int
    left_out: tuple[str, ...]


def import_weights(
    source: str | os.PathLike[str],
    architecture: str,
    output: str | os.PathLike[str],
    *,
    convention: str | None = None,
    allow: str = "",
) -> Imported:
    """Writes the weights of another project's file under our names.

    Args:
      source: a `.pth`, `.npz` or `.safetensors` file with the names of AdvSemiSeg or torchvision,
        or an `.onnx` file of a trunk whose batch norm is fused. No code in it is run.
      architecture: one of `NAMES`: a trunk alone, a head and a trunk, or the discriminator.
      output: a `.safetensors` file.
      convention: one of `CONVENTIONS`; None for the usual one of the architecture.
      allow: regular expression for whole names of arrays in `source` that may be left out. Those of
        an image classifier and counters of batches always may.

    Raises:
      InputError: if an array of the network is missing or of another shape, if one of the source
        has no place and is not allowed to be left out, or if something given is wrong.
    """
    if architecture not in NAMES:
        raise InputError(f"architecture={architecture!r}: expected one of {', '.join(NAMES)}")
    if convention is not None and convention not in CONVENTIONS:
        raise InputError(f"convention={convention!r}: expected one of {', '.join(CONVENTIONS)}")
    store.check_name(output)
    allowed = _pattern(allow)
    arrays, layout = _read(Path(source))
    if architecture == DISCRIMINATOR:
        target = _discriminator(arrays)
    else:
        if is_vgg(architecture):
            arrays = vgg.as_convolutions(arrays)
        target = _generator(*(TRUNKS | WHOLE)[architecture], arrays, convention)
        if layout not in (None, target.about["model"]["layout"]):
            raise InputError(
                f"{os.fspath(source)!r}: its strides stand as in the layout {layout}; choose "
                f"another convention of {', '.join(CONVENTIONS)}"
            )

    left = dict(arrays)
    variables, problems = {}, []
    for collection, tree in target.shapes.items():
        variables[collection], more = matching.fill(tree, left, target.name_of)
        problems += more
    problems += [
        f"{name} {array.shape} has no place"
        for name, array in left.items()
        if not (resnet.is_unused(name) or allowed.fullmatch(name))
    ]
    if problems:
        raise InputError(
            f"{os.fspath(source)!r}: expected exactly the arrays of {architecture}; "
            f"{matching.summary(problems, shown=20)}. What has no place can be left out by "
            "--allow=REGEX"
        )
    if target.about["fused"]:
        std = target.about["image"]["std"]
        relative = [ours / theirs for ours, theirs in zip(fused.IMAGE_STD, std, strict=True)]
        resnet.scale_input(variables["params"]["backbone"], relative)
        target.about["image"]["std"] = fused.IMAGE_STD
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {**target.about, "source": {"file": Path(source).name, "sha256": digest}}
    store.write(output, variables, about)
    left_out = tuple(f"{name} {array.shape}" for name, array in left.items())
    return Imported(about, len(arrays) - len(left), left_out)


def _pattern(allow: str) -> re.Pattern:
    try:
        return re.compile(allow)
    except re.error as error:
        raise InputError(f"allow={allow!r}: expected a regular expression ({error})") from None


def _read(path: Path) -> tuple[Arrays, str | None]:
    """Returns the arrays of a file and, if it tells, the layout of its trunk."""
    readers: dict[str, Callable[[Path], Arrays]] = {
        ".pth": pth.read,
        ".pt": pth.read,
        ".npz": npz.read,
        store.SUFFIX: store.read_arrays,
    }
    if path.suffix == ".onnx":
        return onnx.read(path)
    if path.suffix not in readers:
        raise InputError(f"{str(path)!r}: expected a file of {', '.join([*readers, '.onnx'])}")
    arrays = readers[path.suffix](path)
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in arrays):
            arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return arrays, None


@dataclasses.dataclass(frozen=True)
class _Target:
    """A network to fill: shapes of its variables, the source's names, what is known of it."""

    shapes: Mapping[str, Any]
    name_of: Callable[[tuple[str, ...]], str | None]
    about: dict[str, Any]


def _generator(head: str, trunk: str, arrays: Arrays, convention: str | None) -> _Target:
    parts, num_classes = ["backbone"], None
    model: dict[str, Any] = {"backbone": trunk}
    name_of: Callable[..., str | None] = matching.advsemiseg_name  # torchvision's, for a trunk
    is_fused = not head and fused.is_fused(arrays)
    if is_fused:
        name_of = functools.partial(matching.fused_name, matching.advsemiseg_name)
    if is_vgg(trunk):
        name_of = vgg.torchvision_name
    usual = "caffe" if trunk == CAFFE_TRUNK else "torchvision"
    if head:
        of_head = HEADS[head]
        usual, name_of = of_head.convention, of_head.name_of
        num_classes = _size(arrays, of_head.classifier, 0)
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
    return _Target(shapes, name_of, about)


def _discriminator(arrays: Arrays) -> _Target:
    num_classes = _size(arrays, "conv1.weight", 1)
    about = {
        "network": "discriminator",
        "model": {},
        "image": {},
        "num_classes": num_classes,
        "fused": False,
    }
    shapes = _shapes(Discriminator().init, channels=num_classes)
    return _Target(shapes, matching.discriminator_name, about)


def _size(arrays: Arrays, name: str, axis: int) -> int:
    if name not in arrays or arrays[name].ndim != 4:
        raise InputError(
            f"source: has no kernel {name}, by which the classes are counted, but "
            f"{', '.join(list(arrays)[:3])}, ...; choose another architecture of {', '.join(NAMES)}"
        )
    return arrays[name].shape[axis]


def _shapes(init: Callable[..., Any], channels: int) -> Mapping[str, Any]:
    """Shapes of a network's variables, nothing computed."""
    images = jax.ShapeDtypeStruct((1, MINIMUM_SIZE, MINIMUM_SIZE, channels), "float32")
    return jax.eval_shape(init, jax.random.key(0), images)
