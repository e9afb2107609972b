"""The config of a run: what its weights say of it, and how the workdir keeps it."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sassn_jax.conversion.conventions import about_npz
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.inference import Inference
from sassn_jax.methods.adversarial import LossWeights
from sassn_jax.methods.cutmix import CutMixWeights
from sassn_jax.methods.mittal import ClassifierSettings
from sassn_jax.methods.s4gan import S4GANWeights
from sassn_jax.methods.unimatch import UniMatchWeights
from sassn_jax.training.validation import validate
from sassn_jax.weights import npz, store

FILE = "config.json"
SHOWN = 4  # differences that an error lists
# Fields that say how a run is carried out and do not change what comes of it.
UNBINDING = (
    "loader_workers",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "eval_batch_size",
    "data_dir",
    "eval.pad_to",
    "eval.window",
    "eval.stride",
    "eval.scales",
    "eval.mirror",
)
# Sections that came later, or have fields that did; a run or a file from before has their defaults.
LATER: dict[str, Callable[[], Any]] = {
    "loss": LossWeights,
    "eval": Inference,
    "s4gan": S4GANWeights,
    "classifier": ClassifierSettings,
    "cutmix": CutMixWeights,
    "unimatch": UniMatchWeights,
}

FORMER = "weights_std"  # a field of `model` that is no more


def resolve(config: ConfigDict) -> ConfigDict:
    """Returns a valid config in which a weights' file has had its say.

    A `.safetensors` file of ours knows how its network was made and which images it was trained on,
    and of a `.npz` file that is taken it is known: `model.layout` and `image` are then as the file
    has them, whatever the config says.

    Raises:
      InputError: naming the first field that is wrong, or if the file is of another network.
    """
    validate(config)
    if not config.model.weights:
        return config
    about = about_weights(config)
    resolved = ConfigDict(config.to_dict())
    resolved.model.layout = about["model"]["layout"]
    resolved.image = ConfigDict(about["image"])
    validate(resolved)
    return resolved


def about_weights(config: ConfigDict) -> dict[str, Any]:
    """Returns what a config's file of weights says of itself, see `weights.store.write`.

    Raises:
      InputError: if it cannot be read, or is of another network.
    """
    path = config.model.weights
    about = about_npz(path) if Path(path).suffix == npz.SUFFIX else store.read_about(path)
    backbone = about["model"]["backbone"]
    if backbone != config.model.backbone:
        raise InputError(
            f"model.backbone={config.model.backbone!r}: the weights in {path} are of {backbone}; "
            "change one of the two"
        )
    return about


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Checks that a workdir is new, or holds a run of this config.

    Raises:
      InputError: if it holds a run of another config, or is no folder.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: is a file; expected a folder, or a name for a new one")
    if not (workdir / FILE).exists():
        return
    before, now = _binding(read(workdir)), _binding(config)
    differing = [
        f"{field} was {before.get(field)!r}, is {now.get(field)!r}"
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field)
    ]
    if differing:
        more = f"; {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise InputError(
            f"{workdir}: holds a run of another config ({'; '.join(differing[:SHOWN])}{more}); "
            "choose another --workdir, or remove this one"
        )


def write(config: ConfigDict, workdir: Path) -> None:
    """Writes a config to a workdir, unless there is one."""
    if not (workdir / FILE).exists():
        write_json(workdir / FILE, config.to_dict())


def read(workdir: Path) -> ConfigDict:
    """Returns the config of the run in a workdir.

    Raises:
      InputError: if there is none, or it cannot be read.
    """
    path = workdir / FILE
    try:
        return with_later_sections(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{workdir}: no config.json; expected the --workdir of a run") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def with_later_sections(fields: Mapping[str, Any]) -> ConfigDict:
    """Returns a config as it was written, with what there was not yet, without what is no more."""
    later = {
        name: {**dataclasses.asdict(section()), **fields.get(name, {})}
        for name, section in LATER.items()
    }
    config = ConfigDict({"unlabeled": "rest", **fields, **later})
    if FORMER in config.get("model", ()):
        del config.model[FORMER]
    return config


def _binding(config: ConfigDict) -> dict[str, Any]:
    """What must not change: a file of weights may stand in another folder, as on another host."""
    fields = {name: value for name, value in _flat(config).items() if name not in UNBINDING}
    return {**fields, "model.weights": Path(fields["model.weights"]).name}


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
