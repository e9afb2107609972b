"""What PyTorch's wrappers put into the names of a network's arrays."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sassn_jax.errors import InputError

# Of torch.compile, FSDP and activation checkpointing, which also wrap parts of a network.
OF_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Of DataParallel, and of DeepLab's training at several scales. A part of a network may have such a
# name of its own, so they are removed only where all names begin with them.
OF_ALL = ("module", "Scale")


class Unwrapped(NamedTuple):
    """Names without wrappers.

    Attributes:
      names: the new name of each old one.
      removed: a line for each wrapper that was removed, such as `module. from all names`.
    """

    names: dict[str, str]
    removed: tuple[str, ...]


def unwrap(names: Iterable[str]) -> Unwrapped:
    """Removes wrappers: `module._orig_mod.layer3._orig_mod.0.weight` becomes `layer3.0.weight`.

    Raises:
      InputError: if two names become the same.
    """
    unwrapped, counts = {}, Counter[str]()
    for name in names:
        *modules, leaf = name.split(".")
        counts.update(set(modules).intersection(OF_PARTS))
        unwrapped[name] = ".".join([*(x for x in modules if x not in OF_PARTS), leaf])
    for wrapper in _common_wrappers(unwrapped.values()):
        counts[wrapper] = len(unwrapped)
        unwrapped = {old: new.removeprefix(f"{wrapper}.") for old, new in unwrapped.items()}
    before: dict[str, str] = {}
    for old, new in unwrapped.items():
        if new in before:
            raise InputError(
                f"{before[new]} and {old} are both {new} without their wrappers; expected one of "
                "them, so leave the other out of the file"
            )
        before[new] = old
    removed = []
    for wrapper, count in sorted(counts.items()):
        share = "all" if count == len(unwrapped) else f"{count} of {len(unwrapped)}"
        removed.append(f"{wrapper}. from {share} names")
    return Unwrapped(unwrapped, tuple(removed))


def _common_wrappers(names: Iterable[str]) -> list[str]:
    """Returns the wrappers that all names begin with, the outermost first."""
    wrappers = []
    for modules in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(modules)) > 1 or modules[0] not in OF_ALL:
            break
        wrappers.append(modules[0])
    return wrappers
