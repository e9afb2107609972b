"""Every config is built for every method, and its shapes checked without data."""

import importlib
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import methods
from sassn_jax.errors import InputError
from sassn_jax.methods.cutmix import CutMixWeights
from sassn_jax.methods.supervised import Supervised
from sassn_jax.methods.unimatch import UniMatchWeights
from sassn_jax.training import validation
from sassn_jax.training.setup import make_normalize

FOLDER = Path(__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "common"))
METHODS = sorted(methods.METHODS)
CLASSES = 11
BOTH = ("layer3", "layer4")
SITES = {"sa": BOTH, "sassn": BOTH, "unimatch_sassn": BOTH, "sa1": ("layer3",), "sa2": ("layer4",)}
FAKES = {"advsemiseg_code": "both"}


def get_config(name, argument=None):
    return importlib.import_module(f"configs.{name}").get_config(argument)


def abstract_half(config, method):
    """The shapes of one kind of a batch's images."""
    size = (config.batch_size, *config.crop_size)
    half = {
        "image": jax.ShapeDtypeStruct((*size, 3), "float32"),
        "label": jax.ShapeDtypeStruct(size, "int32"),
    }
    if method.takes_valid:
        half["valid"] = jax.ShapeDtypeStruct(size, "bool")
    return half


def test_there_are_configs():
    assert {"camvid", "demo", "scenes"} <= set(NAMES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_is_valid_for_every_method(name, method):
    config = get_config(name, f"method={method},labels=1/4")
    validation.validate(config)
    assert (config.method, config.labels) == (method, "1/4")
    built = methods.create(config, CLASSES)
    assert built.takes_valid == (method in ("cutmix", "unimatch", "unimatch_sassn"))
    has_spectral_norm = method.endswith("sn")
    assert config.model.attention == SITES.get(method.removesuffix("_sn"), ())
    if methods.METHODS[method] is Supervised:
        assert built.unlabeled_from is None
    elif method in ("s4gan", "mittal", "cutmix", "unimatch"):
        assert built.unlabeled_from == 0
    else:
        assert built.discriminator.spectral_norm == has_spectral_norm
        assert built.weights.discriminator_fake == FAKES.get(method, "labeled")
        assert 0 < built.weights.semi_start < config.num_steps
        from_start = method == "advsemiseg_code"
        assert built.unlabeled_from == (0 if from_start else built.weights.semi_start)


@pytest.mark.parametrize("method", ["advsemiseg_code", "unimatch_sassn"])
def test_a_step_without_filled_pixels_has_the_same_shapes(method):
    """Of a batch that says which pixels are filled, which it does only where that is asked for."""
    config = get_config("scenes", f"method={method}")
    config.loss.exclude_filled = True
    validation.validate(config)
    built = methods.create(config, CLASSES)
    assert built.takes_valid
    half = abstract_half(config, built)
    state = jax.eval_shape(built.init, jax.random.key(0), {"labeled": half})
    new, _ = jax.eval_shape(built.step, state, {"labeled": half, "unlabeled": half})
    assert new == state


@pytest.mark.parametrize("name", NAMES)
def test_defaults_to_the_papers_method_with_an_eighth_of_the_labels(name):
    config = get_config(name)
    assert (config.method, config.labels) == ("sassn", "1/8")


# The methods differ by switches of the networks, which one config shows as well as all.
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(
            ("scenes", method)
            for method in ("supervised", "advsemiseg", "fcn8s", "dilation", "mittal", "cutmix")
        ),
        *((name, "sassn") for name in NAMES if name != "folder"),  # which is voc's
        ("scenes", "unimatch_sassn"),
    ],
)
def test_shapes(name, method):
    """A step gives back a state of the shapes it took, with and without unlabelled images."""
    config = get_config(name, f"method={method}")
    built = methods.create(config, CLASSES)
    half = abstract_half(config, built)
    state = jax.eval_shape(built.init, jax.random.key(0), {"labeled": half})
    batches = [{"labeled": half}]
    if built.unlabeled_from is not None:
        batches.append({"labeled": half, "unlabeled": half})
    for batch in batches:
        new, metrics = jax.eval_shape(built.step, state, batch)
        assert new == state
        assert {(metric.shape, metric.dtype.name) for metric in metrics.values()} == {
            ((), "float32")
        }
    probabilities = jax.eval_shape(built.predict, built.inference_variables(state), half["image"])
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
        validation.validate(config)
    else:
        message = f"^{at_fault}={config[at_fault]}: expected {expected[at_fault]}"
        with pytest.raises(InputError, match=message):
            validation.validate(config)
    config = get_config(name)
    config.update_from_flattened_dict(switches)
    validation.validate(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "batch_size=0: expected a whole number of at least 1"),
        ("backbone=deeplabv3", "batch_size=0: expected at least 2 images"),
    ],
)
def test_a_batch_without_images_is_refused(options, message):
    config = get_config("voc", options)
    config.batch_size = 0
    with pytest.raises(InputError, match=message):
        validation.validate(config)


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


def test_what_is_published_of_them():
    """The solver files and the means of their authors' repositories."""
    fcn, dilation = (get_config("voc", f"method={name}") for name in ("fcn8s", "dilation"))
    assert (fcn.batch_size, fcn.optimizer.momentum, fcn.optimizer.weight_decay) == (1, 0.99, 2.5e-9)
    assert fcn.optimizer.lr == pytest.approx(1e-10 * 500 * 375, rel=0.1)
    assert (dilation.batch_size, dilation.optimizer.momentum) == (14, 0.9)
    assert (dilation.optimizer.lr, dilation.optimizer.weight_decay) == (1e-4, 5e-4)
    means = {"voc": (102.93, 111.36, 116.52), "cityscapes": (72.39, 82.91, 73.16)}
    for name, mean in means.items():
        image = get_config(name, "method=dilation").image
        assert (image.channel_order, image.mean) == ("bgr", mean)


def test_cityscapes_is_the_papers_recipe():
    config = get_config("cityscapes")
    assert (config.crop_size, config.augment.scale) == ((512, 1024), (1.0, 1.0))
    assert (config.batch_size, config.num_steps, config.loss.semi_start) == (2, 40_000, 5000)


@pytest.mark.parametrize("method", ["s4gan", "mittal"])
def test_full_size_configs_train_mittals_methods_as_published(method):
    voc, city = (get_config(name, f"method={method}") for name in ("voc", "cityscapes"))
    for config in (voc, city):
        assert (config.num_steps, config.batch_size) == (40_000, 8)
        assert (config.optimizer.lr, config.optimizer.weight_decay) == (2.5e-4, 5e-4)
        weights = config.s4gan.lambda_feature_matching, config.s4gan.lambda_self_training
        assert weights == (0.1, 1.0)
    assert (voc.crop_size, voc.s4gan.threshold) == ((321, 321), 0.6)
    assert (city.crop_size, city.s4gan.threshold) == ((256, 512), 0.7)
    assert (voc.optimizer.discriminator_lr, city.optimizer.discriminator_lr) == (1e-4, 1e-5)
    assert get_config("voc").optimizer.weight_decay == 1e-4


def test_recipes_of_cutmix_and_unimatch():
    """What their authors' code has for VOC and Cityscapes; elsewhere all methods share a recipe."""
    for name, batch_size in (("voc", 10), ("cityscapes", 4)):
        config = get_config(name, "method=cutmix")
        optimizer = config.optimizer
        assert (config.num_steps, config.batch_size) == (40_000, batch_size)
        assert (optimizer.name, optimizer.weight_decay, optimizer.poly_power) == ("adam", 0, 0)
        assert (optimizer.lr, optimizer.new_layer_multiplier) == (3e-6, 10)
        assert (config.model.norm, config.unlabeled) == ("frozen", "all")
    for name, rate, multiplier, threshold in (
        ("voc", 1e-3, 10, 0.95),
        ("cityscapes", 5e-3, 1, 0),
    ):
        config = get_config(name, "method=unimatch")
        optimizer = config.optimizer
        assert (config.batch_size, optimizer.name, optimizer.lr_batch_size) == (8, "sgd", 8)
        assert (optimizer.lr, optimizer.new_layer_multiplier) == (rate, multiplier)
        assert config.unimatch.threshold == threshold
        assert (config.augment.scale, config.unlabeled) == ((0.5, 2.0), "rest")
    for name in ("camvid", "scenes", "demo"):
        recipes = {
            (config.optimizer.name, config.optimizer.lr, config.num_steps, config.model.norm)
            for config in (
                get_config(name, f"method={method}")
                for method in ("sassn", "cutmix", "unimatch", "unimatch_sassn")
            )
        }
        assert len(recipes) == 1


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


def test_advsemisegs_code_on_voc():
    """Batch, decay, head, D's fakes and when unlabelled images begin to take part."""
    config = get_config("voc", "method=advsemiseg_code")
    assert (config.batch_size, config.optimizer.weight_decay) == (10, 5e-4)
    assert config.model.aspp_rates == (6, 12)
    assert (config.loss.discriminator_fake, config.loss.adv_from_start) == ("both", True)
    assert config.loss.semi_start == 5000


def test_a_bad_choice_of_unlabelled_images_is_named():
    config = get_config("scenes")
    config.unlabeled = "some"
    with pytest.raises(InputError, match="unlabeled='some': expected one of rest, all"):
        validation.validate(config)


@pytest.mark.parametrize(
    ("norm", "classifiers"),
    [("batch_frozen_affine", "batch"), ("batch", "batch"), ("frozen", "frozen")],
)
def test_all_of_mittals_classifier_is_trained_unless_frozen(norm, classifiers):
    """At its published rate for 96 images a step, here 16."""
    config = get_config("voc", "method=mittal")
    config.model.norm = norm
    config.classifier.weight_decay = 0.0
    built = methods.create(config, CLASSES)
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


def test_common_is_the_papers_recipe():
    """Section V of the paper, and what AdvSemiSeg's code adds to it."""
    config = importlib.import_module("configs.common").base_config(None)
    assert config.model.backbone == "resnet101"
    assert config.crop_size == (321, 321)
    assert (config.batch_size, config.num_steps) == (8, 20_000)
    assert config.unlabeled == "rest"
    optimizer, loss = config.optimizer, config.loss
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (2.5e-4, 0.9, 1e-4)
    assert (optimizer.discriminator_lr, optimizer.discriminator_betas) == (1e-4, (0.9, 0.99))
    assert (loss.lambda_semi, loss.semi_threshold, loss.semi_start) == (0.1, 0.2, 5000)
    assert (loss.lambda_adv_labeled, loss.lambda_adv_unlabeled) == (0.01, 0.001)


def test_common_has_the_numbers_of_the_methods_themselves():
    config = importlib.import_module("configs.common").base_config(None)
    assert CutMixWeights(**config.cutmix) == CutMixWeights()
    assert UniMatchWeights(**config.unimatch) == UniMatchWeights()
    assert config.cutmix.to_dict() == {
        "ema_decay": 0.99, "lambda_consistency": 1.0, "threshold": 0.97,
    }  # fmt: skip
    assert config.unimatch.to_dict() == {
        "threshold": 0.95, "lambda_strong": 0.25, "lambda_features": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("method", ["unimatch", "unimatch_sassn"])
def test_features_of_a_vgg_are_not_perturbed(method):
    config = get_config("scenes", f"method={method}")
    config.model.update({"backbone": "vgg16", "head": "fcn8s", "attention": ()})
    with pytest.raises(InputError, match=f"'vgg16': expected one of .* with method='{method}'"):
        validation.validate(config)


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_strong_views_undo_the_normalization_of_the_config(channel_order):
    config = get_config("camvid", "method=unimatch")
    config.image.channel_order = channel_order
    built = methods.create(config, CLASSES)
    assert built.consistency.normalize == make_normalize(config)


@pytest.mark.parametrize(("meant_for", "factor"), [(0, 1), (8, 1), (2, 4), (16, 0.5)])
def test_learning_rate_follows_the_batch_where_asked_to(meant_for, factor):
    """One step of SGD without momentum on a gradient of 1."""
    config = get_config("voc", "method=sassn")
    assert config.batch_size == 8
    config.optimizer.update({"lr": 0.01, "lr_batch_size": meant_for, "momentum": 0.0})
    config.optimizer.weight_decay = 0.0
    built = methods.create(config, CLASSES)
    params = {"backbone": {"conv1": {"kernel": jnp.zeros((1, 1, 1, 1))}}}
    optimizer = built.generator_optimizer
    update, _ = optimizer.update(
        jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    )
    np.testing.assert_allclose(jax.tree.leaves(update), -0.01 * factor, rtol=1e-6)
