"""What PyTorch's wrappers put into the names of a network's arrays."""

from collections.abc import Iterable
from typing import NamedTuple

from sassn_jax.errors import InputError

# Of torch.compile, FSDP and activation checkpointing, which wrap a part of a network as well.
OF_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Of DataParallel too, and of DeepLab's training at several scales: a part may have such a name
# of its own, so that these are wrappers only where they begin all names.
OF_ALL = ("module", "Scale", *OF_PARTS)


class Unwrapped(NamedTuple):
    """Names without wrappers.

    Attributes:
      names: the new name of each old one.
      taken_off: lines of what was taken off and where: `all names: module.`.
    """

    names: dict[str, str]
    taken_off: tuple[str, ...]


def unwrap(names: Iterable[str]) -> Unwrapped:
    """Takes wrappers off names: `module._orig_mod.layer3._orig_mod.0.weight` is `layer3.0.weight`.

    Raises:
      InputError: if two names become the same.
    """
    unwrapped = {name: name for name in names}
    prefix = _take_off_prefix(unwrapped)
    inside: dict[str, int] = {}
    for old, new in unwrapped.items():
        *modules, leaf = new.split(".")
        for wrapper in {module for module in modules if module in OF_PARTS}:
            inside[wrapper] = inside.get(wrapper, 0) + 1
        unwrapped[old] = ".".join([*(x for x in modules if x not in OF_PARTS), leaf])
    # A wrapper of all may have stood behind one of some parts.
    prefix += _take_off_prefix(unwrapped)
    before: dict[str, str] = {}
    for old, new in unwrapped.items():
        if new in before:
            raise InputError(
                f"{before[new]} and {old} are both {new} without their wrappers; expected one of "
                "them, so leave the other out of the file"
            )
        before[new] = old
    lines = [f"all names: {prefix}"] if prefix else []
    lines += [
        f"{count} of {len(unwrapped)} names: {wrapper}."
        for wrapper, count in sorted(inside.items())
    ]
    return Unwrapped(unwrapped, tuple(lines))


def _take_off_prefix(names: dict[str, str]) -> str:
    """Takes wrappers off the front of all new names, in place; returns those it took off."""
    prefix = ""
    while names:
        first = next(iter(names.values())).partition(".")[0]
        if first not in OF_ALL or not all(new.startswith(f"{first}.") for new in names.values()):
            break
        prefix += f"{first}."
        for old, new in names.items():
            names[old] = new.removeprefix(f"{first}.")
    return prefix
