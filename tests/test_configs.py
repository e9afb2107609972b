"""Every config is built for every method, and its shapes checked without data."""

import dataclasses
import functools
import importlib
import json
import re
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import methods
from sassn_jax.data import batch_spec
from sassn_jax.errors import InputError
from sassn_jax.methods.adversarial import Adversarial, LossWeights
from sassn_jax.models import resnet
from sassn_jax.recipes import default_config, parse

PAPER = Path(__file__).parents[2] / "shared" / "spec" / "paper.txt"
FOLDER = Path(__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "common"))
METHODS = sorted(methods.METHODS)
CLASSES = 11
BOTH = ("layer3", "layer4")
SITES = {"sa": BOTH, "sassn": BOTH, "unimatch_sassn": BOTH, "sa1": ("layer3",), "sa2": ("layer4",)}


def get_config(name, argument=None):
    return importlib.import_module(f"configs.{name}").get_config(argument)


def test_there_are_configs():
    assert {"camvid", "demo", "scenes"} <= set(NAMES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_is_valid_for_every_method(name, method):
    config = parse(get_config(name, f"method={method},labels=1/4"))
    assert (config.method, config.labels) == (method, "1/4")
    assert config.model.attention == SITES.get(method.removesuffix("_sn"), ())
    built = methods.create(config, CLASSES)
    assert built.generator.num_classes == CLASSES
    if isinstance(built, Adversarial):
        assert built.discriminator.spectral_norm == method.endswith("sn")
        assert built.unlabeled_from < config.num_steps


def test_a_config_survives_json():
    """As it stands in a workdir: what is read back is what was written."""
    config = parse(get_config("cityscapes", "method=mittal"))
    assert parse(json.loads(json.dumps(config.to_dict()))) == config
    assert parse(config) == config


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text is not beside the checkout")
def test_the_defaults_are_what_the_paper_says():
    """Section V, sentence by sentence; the number of each is taken from the text."""
    text = PAPER.read_text()
    voc, city = parse(get_config("voc")), parse(get_config("cityscapes"))
    loss = voc.settings_of(LossWeights)

    def number(pattern):
        return float(re.search(pattern, text)[1].replace(",", ""))

    side = number(r"cropping operations of size (\d+).\d+")
    assert voc.crop_size == (side, side)
    assert voc.num_steps == 1000 * number(r"Each iteration was (\d+)k times")
    assert voc.batch_size == number(r"times and the batch size was (\d+)")
    assert city.crop_size == (number(r"size of the input images to (\d+)."), 1024)
    assert city.num_steps == 1000 * number(r"applied (\d+)k times")
    assert city.batch_size == number(r"per iteration with a batch size of (\d+)")
    assert loss.semi_start == number(r"began after ([\d,]+) iterative")
    assert voc.optimizer.name == "sgd"
    assert voc.optimizer.momentum == number(r"optimizer was used with a momentum of ([\d.]+)")
    assert voc.optimizer.weight_decay == 10 ** number(r"weight decay of 10\^\{(-\d)\}")
    assert voc.optimizer.lr == pytest.approx(
        number(r"learning rate was set to ([\d.]+).") * 10 ** number(r"set to [\d.]+.10\^\{(-\d)\}")
    )
    assert voc.optimizer.poly_power == number(r"decay with a power of (\d\.\d)")
    assert voc.optimizer.discriminator_lr == 10 ** number(r"rate was set to 10\^\{(-\d)\}")
    assert loss.lambda_adv_unlabeled == number(r"were set to ([\d.]+) and [\d.]+, respectively")
    assert loss.lambda_semi == number(r"were set to [\d.]+ and ([\d.]+), respectively")
    assert loss.semi_threshold == number(r"T_\{semi\} was set to (\d\.\d)")


def test_a_misspelt_field_is_named_with_the_most_similar_one():
    with pytest.raises(InputError, match="datset: the config has no such field; did you mean data"):
        default_config(datset="scenes")
    for path, similar in (("model.bakbone", "model.backbone"), ("los.lambda_semi", "loss")):
        fields = default_config().to_dict()
        group, name = path.split(".")
        fields.setdefault(group, {})[name] = "x"
        with pytest.raises(InputError, match=f"no such field; did you mean {similar}\\?"):
            parse(fields)


@pytest.mark.parametrize("method", ["advsemiseg_code", "unimatch_sassn"])
def test_a_step_without_filled_pixels_has_the_same_shapes(method):
    """Of a batch that says which pixels are filled, which it does only where that is asked for."""
    config = get_config("scenes", f"method={method}")
    config.loss.exclude_filled = True
    config = parse(config)
    built = methods.create(config, CLASSES)
    assert built.takes_valid
    batch = batch_spec(
        jax.ShapeDtypeStruct, config.batch_size, config.crop_size, unlabeled=True, valid=True
    )
    state = jax.eval_shape(built.init, jax.random.key(0), batch)
    new, _ = jax.eval_shape(built.step, state, batch)
    assert new == state


@pytest.mark.parametrize("name", NAMES)
def test_defaults_to_the_papers_method_with_an_eighth_of_the_labels(name):
    """And with all masks of a folder of one's own, which has few."""
    config = get_config(name)
    assert (config.method, config.labels) == ("sassn", "1" if name == "folder" else "1/8")


# The methods differ by switches of the networks, which one config shows as well as all.
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(
            ("scenes", method)
            for method in ("supervised", "advsemiseg", "fcn8s", "dilation", "mittal", "cutmix")
        ),
        # The networks of the other configs are those of one of these.
        *((name, "sassn") for name in ("camvid", "scenes", "voc")),
        ("scenes", "unimatch_sassn"),
    ],
)
def test_shapes(name, method, monkeypatch):
    """A step gives back a state of the shapes it took, with and without unlabelled images.

    A stage of a ResNet is cut to two blocks, since those after the second are as the second.
    """
    for backbone, architecture in resnet.ARCHITECTURES.items():
        blocks = tuple(min(2, count) for count in architecture.blocks)
        short = dataclasses.replace(architecture, blocks=blocks)
        monkeypatch.setitem(resnet.ARCHITECTURES, backbone, short)
    config = parse(get_config(name, f"method={method}"))
    built = methods.create(config, CLASSES)
    shapes = functools.partial(
        batch_spec,
        jax.ShapeDtypeStruct,
        config.batch_size,
        config.crop_size,
        valid=built.takes_valid,
    )
    state = jax.eval_shape(built.init, jax.random.key(0), shapes())
    for unlabeled in {False, built.unlabeled_from is not None}:
        batch = shapes(unlabeled=unlabeled)
        new, metrics = jax.eval_shape(built.step, state, batch)
        assert new == state
        assert {(metric.shape, metric.dtype.name) for metric in metrics.values()} == {
            ((), "float32")
        }
    probabilities = jax.eval_shape(
        built.predict, built.inference_variables(state), batch["labeled"]["image"]
    )
    assert probabilities.shape == (config.batch_size, *config.crop_size, CLASSES)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("method=unet", "method='unet': expected one of supervised, advsemiseg, sa, sn, sassn"),
        ("sassn", "config argument 'sassn': expected method=..., labels=..."),
        ("labels=", "config argument 'labels='"),
        ("method=sa,rate=3", "config argument 'rate=3'"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments(name, argument, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared below)
        get_config(name, argument)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["voc", "cityscapes"])
def test_heads_of_the_paper(name):
    assert get_config(name).model.aspp_rates == (6, 12, 18, 24)
    model = get_config(name, "labels=1/2,backbone=deeplabv3").model
    assert (model.head, model.aspp_rates) == ("deeplabv3", (12, 24, 36))
    assert get_config(name, "method=advsemiseg_code").model.aspp_rates == (6, 12)
    with pytest.raises(ValueError, match="expected one of deeplabv2, deeplabv3"):
        get_config(name, "backbone=fcn")


@pytest.mark.parametrize(
    ("name", "switches", "at_fault"),
    [
        ("cityscapes", {}, None),
        ("cityscapes", {"accumulation": 2}, "accumulation"),
        ("voc", {"accumulation": 4}, None),
        ("voc", {"accumulation": 8}, "accumulation"),
        ("voc", {"batch_size": 1}, "batch_size"),
        ("voc", {"accumulation": 8, "model.norm": "frozen"}, "accumulation"),
        ("voc", {"accumulation": 8, "batch_size": 16}, None),
    ],
)
def test_deeplabv3_needs_two_images_at_once(name, switches, at_fault):
    config = get_config(name, "backbone=deeplabv3")
    config.update_from_flattened_dict(switches)
    expected = {
        "accumulation": "a whole number that divides .* into pieces of at least 2 images, since",
        "batch_size": "at least 2 images, since model.head=",
    }
    if at_fault is None:
        parse(config)
    else:
        message = f"^{at_fault}={config[at_fault]}: expected {expected[at_fault]}"
        with pytest.raises(InputError, match=message):
            parse(config)
    config = get_config(name)
    config.update_from_flattened_dict(switches)
    parse(config)


def test_a_batch_without_images_is_refused():
    config = get_config("voc")
    config.batch_size = 0
    with pytest.raises(InputError, match="batch_size=0: expected a whole number of at least 1"):
        parse(config)


@pytest.mark.parametrize(
    ("name", "method", "network"),
    [
        ("voc", "fcn8s", ("vgg16", "fcn8s")),
        ("voc", "dilation", ("vgg16", "dilation8")),
        ("cityscapes", "dilation", ("vgg16", "dilation10")),
        ("camvid", "dilation", ("vgg16", "dilation8")),
        ("demo", "dilation", ("vgg_tiny", "dilation8")),
    ],
)
def test_networks_on_a_vgg(name, method, network):
    config = get_config(name, f"method={method}")
    assert (config.model.backbone, config.model.head) == network
    assert config.optimizer.new_layer_multiplier == 1
    if name in ("voc", "cityscapes"):
        with pytest.raises(ValueError, match=f"method={method} has its own; leave it out"):
            get_config(name, f"method={method},backbone=deeplabv3")


@pytest.mark.parametrize(
    ("name", "images", "epochs"), [("voc", 10582, 80), ("cityscapes", 2975, 240)]
)
@pytest.mark.parametrize("labels", ["1/8", "1/4", "1/2"])
def test_unimatch_goes_through_the_unlabelled_images_so_often(name, images, epochs, labels):
    config = get_config(name, f"method=unimatch,labels={labels}")
    unlabeled = images - int(images * Fraction(labels))
    assert config.num_steps == epochs * unlabeled // config.batch_size
    rest = get_config(name, "method=unimatch,labels=1/30")
    assert rest.num_steps == epochs * images // config.batch_size


def test_a_bad_choice_of_unlabelled_images_is_named():
    config = get_config("scenes")
    config.unlabeled = "some"
    with pytest.raises(InputError, match="unlabeled='some': expected one of rest, all"):
        parse(config)


@pytest.mark.parametrize(
    ("norm", "classifiers"),
    [("batch_frozen_affine", "batch"), ("batch", "batch"), ("frozen", "frozen")],
)
def test_all_of_mittals_classifier_is_trained_unless_frozen(norm, classifiers):
    """At its published rate for 96 images a step, here 16."""
    config = get_config("voc", "method=mittal")
    config.model.norm = norm
    config.classifier.weight_decay = 0.0
    built = methods.create(parse(config), CLASSES)
    assert built.classifier.norm == classifiers
    params = {"backbone": {"bn1": {"scale": jnp.zeros(1)}, "conv1": {"kernel": jnp.zeros(1)}}}
    optimizer = built.classifier_optimizer
    gradient = jax.tree.map(jnp.ones_like, params)
    update, _ = optimizer.update(gradient, optimizer.init(params), params)
    first = -1.9 * 3e-2 * 16 / 96  # of Nesterov's momentum
    np.testing.assert_allclose(update["backbone"]["conv1"]["kernel"], first, rtol=1e-5)
    np.testing.assert_allclose(
        update["backbone"]["bn1"]["scale"], 0 if norm == "frozen" else first, rtol=1e-5
    )


@pytest.mark.parametrize("method", ["unimatch", "unimatch_sassn"])
def test_features_of_a_vgg_are_not_perturbed(method):
    config = get_config("scenes", f"method={method}")
    config.model.update({"backbone": "vgg16", "head": "fcn8s", "attention": ()})
    with pytest.raises(InputError, match=f"'vgg16': expected a ResNet with method='{method}'"):
        methods.create(parse(config), CLASSES)


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_strong_views_undo_the_normalization_of_the_config(channel_order):
    config = get_config("camvid", "method=unimatch")
    config.image.channel_order = channel_order
    built = methods.create(parse(config), CLASSES)
    assert built.consistency.normalize.channel_order == channel_order
    assert built.consistency.normalize == parse(config).image


@pytest.mark.parametrize(("meant_for", "factor"), [(0, 1), (8, 1), (2, 4), (16, 0.5)])
def test_learning_rate_follows_the_batch_where_asked_to(meant_for, factor):
    """One step of SGD without momentum on a gradient of 1."""
    config = get_config("voc", "method=sassn")
    assert config.batch_size == 8
    config.optimizer.update({"lr": 0.01, "lr_batch_size": meant_for, "momentum": 0.0})
    config.optimizer.weight_decay = 0.0
    built = methods.create(parse(config), CLASSES)
    params = {"backbone": {"conv1": {"kernel": jnp.zeros((1, 1, 1, 1))}}}
    optimizer = built.generator.optimizer
    update, _ = optimizer.update(
        jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    )
    np.testing.assert_allclose(jax.tree.leaves(update), -0.01 * factor, rtol=1e-6)
