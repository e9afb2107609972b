"""Other projects' weights into a file of ours."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sassn_jax.conversion.conventions import CONVENTIONS
from sassn_jax.conversion.targets import NETWORKS, Arrays, Target, make_target
from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError, check_name
from sassn_jax.files import expanded
from sassn_jax.weights import fused, matching, names, npz, onnx, pth, resnet, store, wrappers

READERS: dict[str, Callable[[Path], Arrays]] = {
    ".pth": pth.read,
    ".pt": pth.read,
    ".npz": npz.read,
    store.SUFFIX: store.read_arrays,
}
SUFFIXES = (*READERS, ".onnx")
LISTED = 20  # differences that are printed


@dataclasses.dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
      about: the description of the network, see `weights.store.write`.
      num_arrays: how many arrays of the source were imported.
      left_out: a line for each array that was not, with the reason if it has one; one line for all
        counters of batches.
      wrappers: a line for each wrapper that was removed from names, see `weights.wrappers`.
    """

    about: dict[str, Any]
    num_arrays: int
    left_out: tuple[str, ...]
    wrappers: tuple[str, ...]


def import_weights(
    source: str | os.PathLike[str],
    architecture: str,
    output: str | os.PathLike[str],
    *,
    convention: str | None = None,
    all_branches: bool = False,
    allow: str = "",
) -> Imported:
    """Writes the weights of another project's file under our names. Runs no code from the file.

    Args:
      source: a `.pth`, `.npz` or `.safetensors` file with the names of AdvSemiSeg or torchvision,
        or an `.onnx` file of a ResNet trunk whose batch norm is fused.
      architecture: one of `NETWORKS`: a trunk, or a head and a trunk.
      output: a `.safetensors` file.
      convention: one of `CONVENTIONS`; None for the usual one of the architecture.
      all_branches: whether a DeepLabv2 was trained with all four branches of its head. The code of
        AdvSemiSeg and its descendants never evaluates the last two, which are left out by default.
      allow: regular expression for the whole names of arrays in `source` that may be left out.
        Classifiers of images and counters of batches are always left out.

    Raises:
      InputError: if an argument is wrong; if an array of the network is missing, has another shape
        or is not of finite floating-point numbers; if an array of the source has no place and
        `allow` does not match it; if two names are the same without wrappers.
    """
    source, output = expanded(source), expanded(output)
    allowed = _check(source, architecture, output, convention, all_branches, allow)
    check_platform()
    arrays, layout, removed = _read(source)
    target = make_target(source, arrays, architecture, convention, all_branches)
    if layout not in (None, target.about["model"]["layout"]):
        raise InputError(
            f"source={str(source)!r}: its strides are those of layout={layout!r}; choose another "
            f"convention of {', '.join(CONVENTIONS)}"
        )
    variables, left = _fill(source, architecture, arrays, target, allowed)
    if target.about["fused"]:
        std = target.about["image"]["std"]
        relative = [ours / theirs for ours, theirs in zip(fused.IMAGE_STD, std, strict=True)]
        resnet.scale_input(variables["params"]["backbone"], relative)
        target.about["image"]["std"] = fused.IMAGE_STD
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {**target.about, "source": {"file": source.name, "sha256": digest}}
    store.write(output, variables, about)
    left_out = _describe(left, target.dead)
    return Imported(about, len(arrays) - len(left), left_out, removed)


def _fill(
    source: Path, architecture: str, arrays: Arrays, target: Target, allowed: re.Pattern[str]
) -> tuple[dict[str, Any], Arrays]:
    """Returns the network's variables, and the arrays that are not among them."""
    variables, left, problems, homeless = _match(arrays, target, allowed)
    problems += homeless
    if problems:
        is_other = len(left) == len(arrays)  # another network: a list of everything would not help
        hint = ""
        if alike := _network_like(source, arrays, allowed):
            is_other = True
            hint = f"; this file looks like architecture={alike}"
        elif is_other:
            hint = "; none of its names is one of the network's"
            if prefix := wrappers.common_modules(arrays):
                hint += f"; they all begin with {'.'.join(prefix)}., which should be removed"
        elif homeless:
            hint = "; allow=REGEX leaves out arrays whose whole name matches"
        listed = problems[:LISTED]
        if len(problems) > LISTED:
            listed.append(f"and {len(problems) - LISTED} more")
        raise InputError(
            f"source={str(source)!r}: expected exactly the arrays of {architecture}; "
            f"{matching.summary(problems)}{hint}",
            details=() if is_other or len(problems) <= matching.SHOWN else listed,
        )
    return variables, left


def _match(
    arrays: Arrays, target: Target, allowed: re.Pattern[str]
) -> tuple[dict[str, Any], Arrays, list[str], list[str]]:
    """Fills a network from arrays, as far as they fit.

    Returns:
      The variables that were found; the arrays that are not among them; a line for each array that
      is missing or wrong; and a line for each that has no place and may not be left out.
    """
    left = dict(arrays)
    variables, problems = matching.fill(target.shapes, left, target.name_of)
    homeless = [
        f"{name} {array.shape} has no place"
        for name, array in left.items()
        if not (names.is_unused(name) or re.fullmatch(target.dead, name) or allowed.fullmatch(name))
    ]
    return variables, left, problems, homeless


def _network_like(source: Path, arrays: Arrays, allowed: re.Pattern[str]) -> str:
    """Returns the name of a network that these arrays fill; empty if there is none."""
    for name in NETWORKS:
        try:
            target = make_target(source, arrays, name, None, all_branches=False)
        except InputError:  # a head needs the array that tells its number of classes
            continue
        _, _, problems, homeless = _match(arrays, target, allowed)
        if not (problems or homeless):
            return name
    return ""


def _describe(left: Arrays, dead: str) -> tuple[str, ...]:
    """Returns a line for each array that is left out, and one for all counters of batches."""
    counters = [name for name in left if names.is_counter(name)]
    lines = []
    for name, array in left.items():
        if name not in counters:
            reason = ": AdvSemiSeg's code never evaluates it" if re.fullmatch(dead, name) else ""
            lines.append(f"{name} {array.shape}{reason}")
    if counters:
        lines.append(f"{len(counters)} counters of batches, such as {counters[0]}")
    return tuple(lines)


def _check(
    source: Path,
    architecture: str,
    output: Path,
    convention: str | None,
    all_branches: bool,
    allow: str,
) -> re.Pattern[str]:
    """Checks the arguments before anything is read; returns the pattern of `allow`."""
    if source.suffix not in SUFFIXES:
        raise InputError(f"source={str(source)!r}: expected a file of {', '.join(SUFFIXES)}")
    if not source.is_file():
        raise InputError(f"source={str(source)!r}: no such file")
    check_name("architecture", architecture, NETWORKS)
    if convention is not None:
        check_name("convention", convention, CONVENTIONS)
    if all_branches and not architecture.startswith("deeplabv2_"):
        raise InputError(
            f"all_branches=True: expected False for architecture={architecture!r}; only "
            "deeplabv2_... has such branches"
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
      The arrays, without wrappers in their names; the layout of the trunk, if the file shows it;
      and a line for each wrapper that was removed.
    """
    if path.suffix == ".onnx":
        return *onnx.read(path), ()  # gives the arrays names of its own
    arrays = READERS[path.suffix](path)
    if strange := [name for name in arrays if not name.isprintable()]:  # messages hold names
        raise InputError(f"source={str(path)!r}: the name {strange[0]!r:.200} is no text")
    if path.suffix == store.SUFFIX and store.is_ours(arrays):
        raise InputError(
            f"source={str(path)!r}: was written by `sassn import_weights` or `sassn export` "
            "already; use it as model.weights"
        )
    try:
        arrays, removed = wrappers.unwrap(arrays)
    except InputError as error:
        raise InputError(f"source={str(path)!r}: {error}") from None
    return arrays, None, removed
