"""What the configs share: how an argument is read, and the paper's recipe with what it names.

docs/configuration.md lists every field, what it means and its default.
"""

from ml_collections import ConfigDict

from sassn_jax.recipes import default_config

RATES = {"deeplabv2": (6, 12, 18, 24), "deeplabv3": (12, 24, 36)}  # by head


def parse_argument(argument: str | None, **defaults: str) -> dict[str, str]:
    """Reads `key=value,key=value`, as in `--config=configs/camvid.py:method=sassn,labels=1/8`."""
    values = dict(defaults)
    for pair in filter(None, (argument or "").split(",")):
        key, _, value = pair.partition("=")
        if key not in defaults or not value:
            allowed = ", ".join(f"{name}=..." for name in defaults)
            raise ValueError(f"config argument {pair!r}: expected {allowed}, separated by commas")
        values[key] = value
    return values


def full_size_config(argument: str | None) -> ConfigDict:
    """Returns the paper's VOC recipe, with `method`, `labels` and `backbone` from the argument."""
    values = parse_argument(argument, method="sassn", labels="1/8", backbone="")
    backbone = values.pop("backbone")
    if backbone not in ("", *RATES):
        raise ValueError(f"{backbone=}: expected one of {', '.join(RATES)}")
    config = default_config(**values)
    if is_on_vgg(config):
        if backbone:
            raise ValueError(f"{backbone=}: method={config.method} has its own; leave it out")
    elif backbone not in ("", config.model.head):  # whose rates a method may have changed
        config.model.head = backbone
        config.model.aspp_rates = RATES[backbone]
    return config


def is_on_vgg(config: ConfigDict) -> bool:
    """Whether the method of a config sets a VGG-16 for its network."""
    return config.model.backbone == "vgg16"


def base_config(argument: str | None) -> ConfigDict:
    """Returns the paper's VOC recipe, with `method` and `labels` from the argument."""
    return default_config(**parse_argument(argument, method="sassn", labels="1/8"))
