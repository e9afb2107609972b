"""What PyTorch's wrappers put into the names of a network's arrays."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from sassn_jax.errors import InputError

# Of torch.compile, FSDP and activation checkpointing, which also wrap parts of a network.
OF_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Of DataParallel, and of DeepLab's training at several scales. A part of a network may have such a
# name of its own, so they are removed only where all names begin with them.
OF_ALL = ("module", "Scale")


def unwrap(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Removes wrappers: `module._orig_mod.layer3._orig_mod.0.weight` becomes `layer3.0.weight`.

    Returns:
      The arrays under their new names; and a line for each wrapper that was removed, such as
      `module. from all names`.

    Raises:
      InputError: if two names become the same.
    """
    names, counts = {}, Counter[str]()
    for old in arrays:
        *modules, leaf = old.split(".")
        counts.update(set(modules).intersection(OF_PARTS))
        names[old] = ".".join([*(x for x in modules if x not in OF_PARTS), leaf])
    for wrapper in itertools.takewhile(OF_ALL.__contains__, common_modules(names.values())):
        counts[wrapper] = len(names)
        names = {old: new.removeprefix(f"{wrapper}.") for old, new in names.items()}
    before: dict[str, str] = {}
    for old, new in names.items():
        if new in before:
            raise InputError(
                f"{before[new]} and {old} are both {new} without their wrappers; expected one of "
                "them, so leave the other out of the file"
            )
        before[new] = old
    removed = []
    for wrapper, count in sorted(counts.items()):
        share = "all" if count == len(names) else f"{count} of {len(names)}"
        removed.append(f"{wrapper}. from {share} names")
    return {new: arrays[old] for new, old in before.items()}, tuple(removed)


def common_modules(names: Iterable[str]) -> list[str]:
    """Returns the modules that all names begin with, the outermost first."""
    modules = [name.split(".")[:-1] for name in names]
    return list(os.path.commonprefix(modules))  # noqa: RUF071 (whole modules, not characters)
