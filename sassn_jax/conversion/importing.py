"""Other people's weights into one file of ours."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from sassn_jax.conversion import targets
from sassn_jax.conversion.conventions import CONVENTIONS
from sassn_jax.conversion.targets import DISCRIMINATOR, NAMES, Arrays
from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError
from sassn_jax.files import expanded
from sassn_jax.models.networks import is_vgg
from sassn_jax.weights import fused, matching, npz, onnx, pth, resnet, store, vgg, wrappers

DEAD = "AdvSemiSeg's code never evaluates it, so that it was not trained"
READERS: dict[str, Callable[[Path], Arrays]] = {
    ".pth": pth.read,
    ".pt": pth.read,
    ".npz": npz.read,
    store.SUFFIX: store.read_arrays,
}
SUFFIXES = (*READERS, ".onnx")


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
      about: what the file says of its network, see `weights.store.write`.
      taken: how many arrays of the source are in it.
      left_out: name and shape of each that is not, and why, where nobody has asked for it; counters
        of batches together.
      taken_off: lines of what wrappers had put into the source's names, see `weights.wrappers`.
    """

    about: dict[str, Any]
    taken: int
    left_out: tuple[str, ...]
    taken_off: tuple[str, ...]


def import_weights(
    source: str | os.PathLike[str],
    architecture: str,
    output: str | os.PathLike[str],
    *,
    convention: str | None = None,
    all_branches: bool = False,
    allow: str = "",
) -> Imported:
    """Writes the weights of another project's file under our names.

    Args:
      source: a `.pth`, `.npz` or `.safetensors` file with the names of AdvSemiSeg or torchvision,
        or an `.onnx` file of a trunk whose batch norm is fused. No code in it is run.
      architecture: one of `NAMES`: a trunk alone, a head and a trunk, or the discriminator.
      output: a `.safetensors` file.
      convention: one of `CONVENTIONS`; None for the usual one of the architecture. A discriminator
        has none.
      all_branches: whether a DeepLabv2 was trained with all four branches of its head. In
        AdvSemiSeg's code, and that of its descendants, the last two are never evaluated; they are
        left out then.
      allow: regular expression for whole names of arrays in `source` that may be left out. Those of
        an image classifier and counters of batches always may.

    Raises:
      InputError: if an array of the network is missing, of another shape, or not of finite
        floating-point numbers, if one of the source has no place and is not allowed to be left out,
        if two have the same name without wrappers, or if something given is wrong.
    """
    source, output = expanded(source), expanded(output)
    allowed = _check(source, architecture, output, convention, all_branches, allow)
    check_platform()
    arrays, layout, taken_off = _read(source)
    if architecture == DISCRIMINATOR:
        target = targets.discriminator(source, arrays)
    else:
        if is_vgg(architecture):
            arrays = vgg.as_convolutions(arrays)
        target = targets.generator(source, arrays, architecture, convention, all_branches)
        if layout not in (None, target.about["model"]["layout"]):
            raise InputError(
                f"{str(source)!r}: its strides stand as in the layout {layout}; choose "
                f"another convention of {', '.join(CONVENTIONS)}"
            )

    left = dict(arrays)
    variables, problems = {}, []
    for collection, tree in target.shapes.items():
        variables[collection], more = matching.fill(tree, left, target.name_of)
        problems += more
    dead = {name for name in left if re.fullmatch(target.dead, name)}
    homeless = [
        f"{name} {array.shape} has no place"
        for name, array in left.items()
        if not (resnet.is_unused(name) or name in dead or allowed.fullmatch(name))
    ]
    problems += homeless
    if problems:
        is_other = len(left) == len(arrays)  # and a list of all would not help
        if is_other:
            hint = f". None of its names is one of the network's{_common_prefix(arrays)}"
        elif homeless:
            hint = ". What has no place can be left out by --allow=REGEX, which matches whole names"
        else:
            hint = ""
        raise InputError(
            f"{str(source)!r}: expected exactly the arrays of {architecture}; "
            f"{matching.summary(problems)}{hint}",
            details=() if is_other or len(problems) <= matching.SHOWN else problems,
        )
    if target.about["fused"]:
        std = target.about["image"]["std"]
        relative = [ours / theirs for ours, theirs in zip(fused.IMAGE_STD, std, strict=True)]
        resnet.scale_input(variables["params"]["backbone"], relative)
        target.about["image"]["std"] = fused.IMAGE_STD
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {**target.about, "source": {"file": source.name, "sha256": digest}}
    store.write(output, variables, about)
    return Imported(about, len(arrays) - len(left), _describe(left, dead), taken_off)


def _describe(left: Arrays, dead: Collection[str]) -> tuple[str, ...]:
    """Lines of arrays that are left out, and of `dead` ones why; counters of batches in one."""
    counters = [name for name in left if resnet.is_counter(name)]
    lines = [
        f"{name} {array.shape}" + (f": {DEAD}" if name in dead else "")
        for name, array in left.items()
        if name not in counters
    ]
    if counters:
        lines.append(f"{len(counters)} counters of batches, such as {counters[0]}")
    return tuple(lines)


def _common_prefix(names: Iterable[str]) -> str:
    """What all names begin with, as a part of a message; nothing if there is no such module."""
    characters = os.path.commonprefix(list(names))  # noqa: RUF071 (cut to whole modules below)
    prefix, dot, _ = characters.rpartition(".")
    return f"; they all begin with {prefix}{dot}, which is to be taken off" if dot else ""


def _check(
    source: Path,
    architecture: str,
    output: Path,
    convention: str | None,
    all_branches: bool,
    allow: str,
) -> re.Pattern:
    """Checks what can be checked before anything is read; returns the pattern of `allow`."""
    if source.suffix not in SUFFIXES:
        raise InputError(f"{str(source)!r}: expected a file of {', '.join(SUFFIXES)}")
    if not source.is_file():
        raise InputError(f"{str(source)!r}: no such file")
    if architecture not in NAMES:
        raise InputError(f"architecture={architecture!r}: expected one of {', '.join(NAMES)}")
    if convention is not None and convention not in CONVENTIONS:
        raise InputError(f"convention={convention!r}: expected one of {', '.join(CONVENTIONS)}")
    if convention is not None and architecture == DISCRIMINATOR:
        raise InputError(
            f"convention={convention!r}: a discriminator takes no images and has none; leave it out"
        )
    if all_branches and not architecture.startswith("deeplabv2_"):
        raise InputError(
            f"all_branches: {architecture} has no such branches; expected deeplabv2_..., or leave "
            "it out"
        )
    store.check_name(output)
    if output.exists() and output.samefile(source):
        raise InputError(f"output={str(output)!r}: is the source itself; choose another name")
    try:
        return re.compile(allow)
    except re.error as error:
        raise InputError(f"allow={allow!r}: expected a regular expression ({error})") from None


def _read(path: Path) -> tuple[Arrays, str | None, tuple[str, ...]]:
    """Reads a file.

    Returns:
      Its arrays, without what wrappers put into their names; the layout of its trunk, if it tells;
      and lines of what was taken off the names.
    """
    if path.suffix == ".onnx":
        return *onnx.read(path), ()  # names them itself
    arrays = READERS[path.suffix](path)
    if path.suffix == store.SUFFIX and store.is_ours(arrays):
        raise InputError(
            f"{str(path)!r}: is one of experiments.import_weights or experiments.export already; "
            "give it as --config.model.weights"
        )
    try:
        unwrapped = wrappers.unwrap(arrays)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    arrays = {unwrapped.names[name]: array for name, array in arrays.items()}
    return arrays, None, unwrapped.taken_off
