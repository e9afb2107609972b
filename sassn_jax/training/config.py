"""The config of a run: checked before anything is built, and kept in the workdir."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sassn_jax.errors import InputError
from sassn_jax.methods import METHODS
from sassn_jax.models.discriminator import MINIMUM_SIZE
from sassn_jax.models.generator import ATTENTION_SITES, HEADS
from sassn_jax.models.layers import NORMS
from sassn_jax.models.resnet import ARCHITECTURES

# Fields that say how a run is carried out and do not change what comes of it.
UNBINDING = ("loader_workers", "log_every", "eval_every", "checkpoint_every", "eval_batch_size")


def validate(config: ConfigDict) -> None:
    """Checks what can be checked before anything is read.

    Raises:
      InputError: naming the first field that is wrong.
    """
    choices: dict[str, Collection[str]] = {
        "method": METHODS,
        "model.backbone": ARCHITECTURES,
        "model.head": HEADS,
        "model.norm": NORMS,
        "image.channel_order": ("rgb", "bgr"),
        "loss.discriminator_fake": ("labeled", "both"),
        "optimizer.name": ("sgd", "adamw"),
    }
    for field, allowed in choices.items():
        _require(config, field, lambda x, allowed=allowed: x in allowed,
                 f"one of {', '.join(allowed)}")  # fmt: skip
    for field in ("num_steps", "batch_size", "log_every", "eval_every", "checkpoint_every",
                  "eval_batch_size", "model.qk_reduction"):  # fmt: skip
        _require(config, field, lambda x: x >= 1, "a whole number of at least 1")
    for field in ("loader_workers", "loss.semi_start", "seed"):
        _require(config, field, lambda x: x >= 0, "a whole number of at least 0")
    for field in ("optimizer.lr", "optimizer.discriminator_lr"):
        _require(config, field, lambda x: x > 0, "a number above 0")
    _require(config, "model.attention", lambda x: set(x) <= set(ATTENTION_SITES),
             f"a subset of {ATTENTION_SITES}")  # fmt: skip
    _require(config, "model.aspp_rates", lambda x: x and all(rate >= 1 for rate in x),
             "at least one dilation, each at least 1")  # fmt: skip
    _require(config, "crop_size", lambda x: len(x) == 2 and min(x) >= MINIMUM_SIZE,
             f"height and width of at least {MINIMUM_SIZE} pixels, or D has no output")  # fmt: skip
    _require(config, "augment.scale", lambda x: len(x) == 2 and 0 < x[0] <= x[1],
             "two factors, the smaller first")  # fmt: skip


def _require(config: ConfigDict, field: str, valid: Any, expected: str) -> None:
    value: Any = config
    for name in field.split("."):
        value = value[name]
    try:
        is_valid = bool(valid(value))
    except TypeError:
        is_valid = False
    if not is_valid:
        raise InputError(f"{field}={value!r}: expected {expected}")


def keep(config: ConfigDict, workdir: Path) -> None:
    """Writes `config.json` to a new workdir, or checks that an old one is of the same config.

    Raises:
      InputError: if the workdir holds a run of another config.
    """
    path = workdir / "config.json"
    if not path.exists():
        write_json(path, config.to_dict())
        return
    before, now = _flat(read(workdir)), _flat(config)
    differing = [
        f"{field} was {before.get(field)!r}, is {now.get(field)!r}"
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field) and field not in UNBINDING
    ]
    if differing:
        raise InputError(
            f"{workdir}: holds a run of another config ({'; '.join(differing)}); "
            "choose another --workdir, or remove this one"
        )


def read(workdir: Path) -> ConfigDict:
    """Returns the config of the run in a workdir.

    Raises:
      InputError: if there is none, or it cannot be read.
    """
    path = workdir / "config.json"
    try:
        return ConfigDict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{workdir}: no config.json; expected the --workdir of a run") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(beside, path)


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Fields by dotted name, as they would read back from JSON."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {
            name: leaf
            for key, child in value.items()
            for name, leaf in walk(f"{prefix}.{key}" if prefix else key, child).items()
        }

    return walk("", json.loads(json.dumps(config.to_dict())))
