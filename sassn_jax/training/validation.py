"""What the fields of a config may be."""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from sassn_jax.errors import InputError
from sassn_jax.methods import METHODS
from sassn_jax.models.discriminator import MINIMUM_SIZE
from sassn_jax.models.generator import ATTENTION_SITES
from sassn_jax.models.heads import DeepLabV3Head
from sassn_jax.models.layers import NORMS
from sassn_jax.models.networks import BACKBONES, heads_on, is_vgg
from sassn_jax.models.resnet import ARCHITECTURES, LAYOUTS
from sassn_jax.training.conventions import CAFFE_TRUNK
from sassn_jax.weights import npz, store


def validate(config: ConfigDict) -> None:
    """Checks what can be checked before anything is read.

    Raises:
      InputError: naming the first field that is wrong.
    """
    rules = _network_rules(config) | _image_rules(config) | _training_rules(config)
    for field, rule in rules.items():
        value = _get(config, field)
        try:
            is_valid = rule.valid(value)
        except TypeError:
            is_valid = False
        if not is_valid:
            raise InputError(f"{field}={value!r}: expected {rule.expected}")


def _network_rules(config: ConfigDict) -> dict[str, "Rule"]:
    backbone = _get(config, "model.backbone")
    on_vgg = is_vgg(backbone)
    perturbs = _get(config, "method") in ("unimatch", "unimatch_sassn")  # features of a ResNet
    weights_of = (store.SUFFIX, npz.SUFFIX) if backbone == CAFFE_TRUNK else (store.SUFFIX,)
    return {
        "method": one_of(METHODS),
        "model.backbone": Rule(
            lambda x: x in BACKBONES and not (on_vgg and perturbs),
            f"one of {', '.join(ARCHITECTURES if perturbs else BACKBONES)}"
            + (f" with method={config.method!r}" if perturbs else ""),
        ),
        "model.head": Rule(
            lambda x: x in heads_on(backbone),
            f"{one_of(heads_on(backbone)).expected} on model.backbone={backbone!r}",
        ),
        "model.norm": one_of(NORMS),
        "model.layout": one_of(LAYOUTS),
        "model.dtype": one_of(("float32", "bfloat16")),
        "model.attention": Rule(
            lambda x: set(x) <= set(() if on_vgg else ATTENTION_SITES),
            f"() on model.backbone={backbone!r}" if on_vgg else f"a subset of {ATTENTION_SITES}",
        ),
        "model.auxiliary_head": Rule(
            lambda x: isinstance(x, bool) and not (x and on_vgg),
            f"False on model.backbone={backbone!r}" if on_vgg else "True or False",
        ),
        "model.weights": Rule(
            lambda x: x == "" or Path(x).suffix in weights_of,
            f"a {store.SUFFIX} of experiments.import_weights or experiments.export"
            + (f", or a {npz.SUFFIX} with batch norm fused" if npz.SUFFIX in weights_of else ""),
        ),
        "model.aspp_rates": Rule(
            lambda x: len(x) > 0 and all(map(AT_LEAST_1.valid, x)),
            "at least one dilation, each a whole number of at least 1",
        ),
    }


def _image_rules(config: ConfigDict) -> dict[str, "Rule"]:
    """Of what is shown to the network, in training and in scoring."""
    return {
        "image.channel_order": one_of(("rgb", "bgr")),
        "crop_size": Rule(
            lambda x: len(x) == 2 and all(isinstance(n, int) and n >= MINIMUM_SIZE for n in x),
            f"height and width, each at least {MINIMUM_SIZE} pixels, or D has no output",
        ),
        "augment.scale": Rule(
            lambda x: len(x) == 2 and 0 < x[0] <= x[1] < math.inf, "two factors, the smaller first"
        ),
        "eval.pad_to": NOTHING_OR_SIZE,
        "eval.window": NOTHING_OR_SIZE,
        "eval.stride": Rule(
            lambda x: fits(x, _get(config, "eval.window")),
            "height and width, each at least 1 and at most that of eval.window, such as two thirds "
            "of it; () if that is ()",
        ),
        "eval.scales": Rule(
            lambda x: len(x) > 0 and all(0 < factor < math.inf for factor in x),
            "at least one factor, each above 0",
        ),
        "eval.mirror": BOOLEAN,
        "image.mean": Rule(lambda x: len(x) == 3 and all(map(math.isfinite, x)), "three numbers"),
        "image.std": THREE_ABOVE_0,
    }


def _training_rules(config: ConfigDict) -> dict[str, "Rule"]:
    least = least_images(_get(config, "model.head"))
    why = (
        f"images, since model.head={_get(config, 'model.head')!r} normalizes its image pooling "
        "over the batch"
    )
    return {
        "unlabeled": one_of(("rest", "all")),
        "loss.discriminator_fake": one_of(("labeled", "both")),
        **dict.fromkeys(("loss.adv_from_start", "loss.exclude_filled"), BOOLEAN),
        "optimizer.name": one_of(("sgd", "adam", "adamw")),
        "optimizer.discriminator_betas": Rule(
            lambda x: len(x) == 2 and all(0 <= beta < 1 for beta in x),
            "two numbers of at least 0 and below 1",
        ),
        **dict.fromkeys(
            ("optimizer.momentum", "cutmix.ema_decay"),
            Rule(lambda x: 0 <= x < 1, "a number of at least 0 and below 1"),
        ),
        **dict.fromkeys(
            ("loss.semi_threshold", "s4gan.threshold", "classifier.ema", "classifier.burn_in",
             "classifier.ramp", "classifier.threshold", "cutmix.threshold", "unimatch.threshold"),
            Rule(lambda x: 0 <= x <= 1, "a number from 0 to 1"),
        ),
        "seed": Rule(lambda x: 0 <= x < 2**32, "a whole number of at least 0 and below 2^32"),
        "loader_workers": AT_LEAST_0,
        "loss.semi_start": AT_LEAST_0,
        "optimizer.lr_batch_size": AT_LEAST_0,
        **dict.fromkeys(COUNTS, AT_LEAST_1),
        "batch_size": Rule(
            lambda x: AT_LEAST_1.valid(x) and x >= least,
            f"at least {least} {why}" if least > 1 else AT_LEAST_1.expected,
        ),
        "accumulation": Rule(
            lambda x: (
                AT_LEAST_1.valid(x)
                and config.batch_size % x == 0
                and config.batch_size // x >= least
            ),
            f"a whole number that divides batch_size={_get(config, 'batch_size')}"
            + (f" into pieces of at least {least} {why}" if least > 1 else ""),
        ),
        **dict.fromkeys(
            ("optimizer.lr", "optimizer.discriminator_lr", "optimizer.new_layer_multiplier",
             "classifier.lr"),
            Rule(lambda x: 0 < x < math.inf, "a number above 0"),
        ),
        **dict.fromkeys(
            ("loss.lambda_adv_labeled", "loss.lambda_adv_unlabeled", "loss.lambda_semi",
             "s4gan.lambda_feature_matching", "s4gan.lambda_self_training",
             "classifier.final_lr", "classifier.weight_decay", "classifier.consistency",
             "cutmix.lambda_consistency", "unimatch.lambda_strong", "unimatch.lambda_features",
             "optimizer.weight_decay", "optimizer.poly_power"),
            Rule(lambda x: 0 <= x < math.inf, "a number of at least 0"),
        ),
    }  # fmt: skip


def least_images(head: str) -> int:
    """Of how many images of a kind a network with this head may take a batch statistic, at least.

    On however many devices: their statistics are those of all images that they take at once.
    """
    return DeepLabV3Head.smallest_batch if head == "deeplabv3" else 1


class Rule(NamedTuple):
    """What a field may be, for the program and for people."""

    valid: Callable[[Any], bool]
    expected: str


def one_of(names: Collection[str]) -> Rule:
    """A rule for fields that name something."""
    return Rule(lambda x: x in names, f"one of {', '.join(names)}")


def fits(stride: Sequence[Any], window: Sequence[int]) -> bool:
    """Whether windows at this stride leave no pixel out."""
    return len(stride) == len(window) and all(
        AT_LEAST_1.valid(step) and step <= side for step, side in zip(stride, window, strict=True)
    )


BOOLEAN = Rule(lambda x: isinstance(x, bool), "True or False")
AT_LEAST_0 = Rule(lambda x: isinstance(x, int) and x >= 0, "a whole number of at least 0")
AT_LEAST_1 = Rule(lambda x: isinstance(x, int) and x >= 1, "a whole number of at least 1")
THREE_ABOVE_0 = Rule(
    lambda x: len(x) == 3 and all(0 < n < math.inf for n in x), "three numbers above 0"
)
NOTHING_OR_SIZE = Rule(
    lambda x: len(x) in (0, 2) and all(map(AT_LEAST_1.valid, x)),
    "(), or height and width, each at least 1 pixel",
)
COUNTS = (
    "num_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "eval_batch_size",
    "model.qk_reduction",
)


def _get(config: ConfigDict, field: str) -> Any:
    value: Any = config
    try:
        for name in field.split("."):
            value = value[name]
    except (KeyError, TypeError):
        raise InputError(f"{field}: not in the config; see configs/common.py") from None
    return value
