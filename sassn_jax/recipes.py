"""Configs as users write them, and how they become the typed configuration.

A user writes an `ml_collections.ConfigDict`: `default_config` gives one with every field, recipes
and flags change it. `parse` turns it into a `Config` and checks it.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sassn_jax.config import Config
from sassn_jax.conversion.conventions import about_npz
from sassn_jax.data import Normalize
from sassn_jax.errors import InputError, one_line
from sassn_jax.fields import check_rule, make, one_of, unknown
from sassn_jax.methods import METHODS, settings_types
from sassn_jax.weights import npz, store

ATTENTION = ("layer3", "layer4")
# The fields that a method sets. A dataset's recipe may change them again.
METHOD_FIELDS: dict[str, dict[str, Any]] = {
    "sa": {"model.attention": ATTENTION},
    "sn": {"model.spectral_norm": True},
    "sassn": {"model.attention": ATTENTION, "model.spectral_norm": True},
    "sa1": {"model.attention": ("layer3",)},
    "sa2": {"model.attention": ("layer4",)},
    "sa1_sn": {"model.attention": ("layer3",), "model.spectral_norm": True},
    "sa2_sn": {"model.attention": ("layer4",), "model.spectral_norm": True},
    # As AdvSemiSeg's code does it: its `return` stands in the loop over the head's four branches.
    # Batch size and weight decay are in configs/voc.py. Not followed: D's labels come from a loader
    # of their own there, scaled so that nothing has to be filled; and the command line of its
    # README neither scales nor mirrors images.
    "advsemiseg_code": {
        "model.aspp_rates": (6, 12),
        "loss.discriminator_fake": "both",
        "loss.adv_from_start": True,
    },
    # As published, but for twice the learning rate and no decay of biases, and in one stage.
    "fcn8s": {
        "model.backbone": "vgg16",
        "model.head": "fcn8s",
        "image.channel_order": "bgr",
        "image.mean": (104.00698793, 116.66876762, 122.67891434),
        "augment.scale": (1.0, 1.0),
        "augment.mirror": False,
        # "At once": 1e-10 on the loss's sum over about 200,000 pixels of an image; here its mean.
        "optimizer.lr": 2e-5,
        "optimizer.momentum": 0.99,
        "optimizer.weight_decay": 2.5e-9,  # 5e-4 beside the gradient of that sum
        "optimizer.new_layer_multiplier": 1.0,
        "optimizer.poly_power": 0.0,
    },
    # As published, but for twice the learning rate and no decay of biases, and in one stage.
    "dilation": {
        "model.backbone": "vgg16",
        "model.head": "dilation8",
        "image.channel_order": "bgr",
        "image.mean": (102.93, 111.36, 116.52),
        "augment.scale": (1.0, 1.0),
        "optimizer.lr": 1e-4,  # of the front end, which takes longest
        "optimizer.weight_decay": 5e-4,
        "optimizer.new_layer_multiplier": 1.0,
        "optimizer.poly_power": 0.0,
    },
    "unimatch_sassn": {"model.attention": ATTENTION, "model.spectral_norm": True},
}


def default_config(method: str = "sassn", **fields: Any) -> ConfigDict:
    """Returns a config with every field, at the paper's values for VOC 2012 with this method.

    Args:
      method: a name in `sassn_jax.methods.METHODS`.
      **fields: other values of fields that stand in no group; those of groups can be set in what
        this function returns. `sassn_jax.config` says what each field means.

    Examples:
      >>> config = default_config("supervised", dataset="scenes", num_steps=100)
      >>> config.optimizer.lr = 1e-3
      >>> config.model.backbone, config.num_steps
      ('resnet101', 100)

    Raises:
      InputError: if there is no such method or field.
    """
    config = ConfigDict(_defaults(method))
    for name, value in fields.items():
        if name not in config:
            raise unknown(name, list(config))
        if isinstance(config[name], ConfigDict):
            raise InputError(f"{name}: is a group; set its fields in the config that is returned")
        try:
            config[name] = value
        except (TypeError, ValueError):
            raise InputError(
                f"{name}={value!r:.300}: expected a value like {config[name]!r}"
            ) from None
    return config


def parse(config: ConfigDict | Mapping[str, Any] | Config) -> Config:
    """Returns the typed configuration.

    Args:
      config: a `ConfigDict`, or a mapping such as JSON holds; absent fields are as in
        `default_config` for its method. A `Config` comes back equal, with all groups of settings.

    Raises:
      InputError: naming the first field that is wrong, with what it may be; or a field that does
        not exist, with the most similar one that does.
    """
    given = config.to_dict() if isinstance(config, ConfigDict | Config) else config
    if not isinstance(given, Mapping):
        raise InputError(f"config={config!r}: expected a ConfigDict or a mapping of fields")
    fields = _overlay(_defaults(given.get("method", Config.method)), given)
    kinds = settings_types()
    groups = tuple(make(kind, fields.pop(name), f"{name}.") for name, kind in kinds.items())
    return dataclasses.replace(make(Config, fields), settings=groups)


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a config with other values of some fields, by dotted name.

    Another `eval.window` gets a stride of its own, unless `eval.stride` is given too.

    Raises:
      InputError: if there is no such field, or it takes no such value.
    """
    if "eval.window" in values:
        values = {"eval.stride": (), **values}
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        group = nested
        for part in path:
            group = group.setdefault(part, {})
        group[last] = value
    return parse(_overlay(parse(config).to_dict(), nested))


def _defaults(method: str) -> dict[str, Any]:
    """Returns all fields with the defaults of a method.

    Raises:
      InputError: if there is no such method.
    """
    check_rule("method", method, one_of(METHODS))
    settings = tuple(kind() for kind in settings_types().values())
    config = ConfigDict(Config(method=method, settings=settings).to_dict())
    config.update_from_flattened_dict(METHOD_FIELDS.get(method, {}))
    return config.to_dict()


def _overlay(base: Mapping[str, Any], values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Returns nested fields in which some have other values.

    Raises:
      InputError: if a field does not exist, or a group of fields is given no fields.
    """
    result = dict(base)
    for name, value in values.items():
        if name not in base:
            raise unknown(path + name, [path + known for known in base])
        if isinstance(base[name], Mapping) != isinstance(value, Mapping):
            is_group = isinstance(base[name], Mapping)
            expected = "its fields, each with a value" if is_group else "a value"
            raise InputError(f"{path}{name}={value!r:.300}: expected {expected}")
        is_group = isinstance(value, Mapping)
        result[name] = _overlay(base[name], value, f"{path}{name}.") if is_group else value
    return result


def resolve(config: Config) -> tuple[Config, tuple[str, ...]]:
    """Returns a config with what its file of weights says of the network, and what that changed.

    The file knows how its trunk was built and which images it was trained on: `model.layout` and
    the fields of `image` become those of the file.

    Returns:
      The config; and a line for each field that the file has changed.

    Raises:
      InputError: if the file cannot be read, or is of another network.
    """
    if not config.model.weights:
        return config, ()
    about = about_weights(config)
    try:
        model = dataclasses.replace(config.model, layout=about["model"]["layout"])
        image = make(Normalize, about["image"], "image.")
    except InputError as error:
        raise InputError(f"model.weights={config.model.weights!r}: it says that {error}") from None
    before, after = dataclasses.asdict(config.image), dataclasses.asdict(image)
    changed = [f"image.{name}={after[name]!r}" for name in after if after[name] != before[name]]
    if model != config.model:
        changed.insert(0, f"model.layout={model.layout!r}")
    return dataclasses.replace(config, model=model, image=image), tuple(changed)


def about_weights(config: Config) -> dict[str, Any]:
    """Returns what a config's file of weights says of itself, see `weights.store.write`.

    Raises:
      InputError: if it cannot be read, or is of another network.
    """
    path = config.model.weights
    about = about_npz(path) if Path(path).suffix == npz.SUFFIX else store.read_about(path)
    backbone = about["model"]["backbone"]
    if backbone != config.model.backbone:
        raise InputError(
            f"model.backbone={config.model.backbone!r}: the weights in {path} are of "
            f"{one_line(backbone)[:100]}; change one of the two"
        )
    return about
