"""Ways to learn from a batch, one file each; `create` builds the one that a config names."""

from sassn_jax.config import Config, Settings
from sassn_jax.fields import check_rule, one_of
from sassn_jax.methods.adversarial import Adversarial
from sassn_jax.methods.cutmix import CutMix
from sassn_jax.methods.method import Method
from sassn_jax.methods.mittal import Mittal
from sassn_jax.methods.s4gan import S4GAN
from sassn_jax.methods.state import Batch, NetworkState, TrainState, Variables
from sassn_jax.methods.supervised import Supervised
from sassn_jax.methods.unimatch import AdversarialUniMatch, UniMatch

__all__ = [
    "METHODS",
    "Batch",
    "Method",
    "NetworkState",
    "TrainState",
    "Variables",
    "create",
    "settings_types",
]

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "advsemiseg": Adversarial,
    "sa": Adversarial,
    "sn": Adversarial,
    "sassn": Adversarial,
    "fcn8s": Supervised,
    "dilation": Supervised,
    "sa1": Adversarial,
    "sa2": Adversarial,
    "sa1_sn": Adversarial,
    "sa2_sn": Adversarial,
    "advsemiseg_code": Adversarial,
    "s4gan": S4GAN,
    "mittal": Mittal,
    "cutmix": CutMix,
    "unimatch": UniMatch,
    "unimatch_sassn": AdversarialUniMatch,
}


def create(config: Config, num_classes: int, ignore_label: int = 255) -> Method:
    """Returns the method that a config describes, its networks and optimizers included.

    Raises:
      InputError: if there is no such method, or it cannot train such a network.
    """
    check_rule("method", config.method, one_of(METHODS))
    return METHODS[config.method].from_config(config, num_classes, ignore_label)


def settings_types() -> dict[str, type[Settings]]:
    """Returns the types of all methods' groups of fields, by the groups' names.

    Raises:
      ValueError: if two types have the same name, or one that a field of `Config` has.
    """
    types: dict[str, type[Settings]] = {}
    for name, method in METHODS.items():
        for kind in method.SETTINGS:
            if types.setdefault(kind.GROUP, kind) is not kind or hasattr(Config, kind.GROUP):
                raise ValueError(f"{name}: its group {kind.GROUP!r} exists already; rename it")
    return types
