"""Configs as users write them become the typed configuration, and back."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from sassn_jax.config import Config
from sassn_jax.errors import InputError
from sassn_jax.methods import METHODS, settings_types
from sassn_jax.methods.adversarial import LossWeights
from sassn_jax.methods.supervised import Supervised
from sassn_jax.recipes import default_config, override, parse

BOTH = ("layer3", "layer4")


def test_what_a_name_stands_for_is_there_however_a_config_is_written():
    for config in (default_config("sassn"), {"method": "sassn"}, ConfigDict({"method": "sassn"})):
        typed = parse(config)
        assert (typed.model.attention, typed.model.spectral_norm) == (BOTH, True)
    assert parse({"method": "sassn", "model": {"norm": "batch"}}).model.attention == BOTH
    assert parse({"method": "fcn8s"}).model.backbone == "vgg16"


def test_a_typed_config_comes_back_equal_with_all_groups():
    config = Config(dataset="scenes", settings=(LossWeights(lambda_semi=0.5),))
    typed = parse(config)
    assert {group.GROUP for group in typed.settings} == settings_types().keys()
    assert typed.settings_of(LossWeights).lambda_semi == 0.5
    assert (typed.model, typed.image) == (config.model, config.image)
    assert parse(json.loads(json.dumps(typed.to_dict()))) == typed


def test_values_take_the_type_of_their_field():
    sizes = [65, np.int64(65)]
    config = Config(crop_size=sizes, num_steps=np.int32(6), seed=np.uint8(3))
    sizes.append(1)
    assert config.crop_size == (65, 65)
    assert (type(config.num_steps), type(config.seed)) == (int, int)
    assert hash(config) == hash(Config(crop_size=(65, 65), num_steps=6, seed=3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": 1.5}, "seed=1.5: expected a whole number"),
        ({"seed": True}, "seed=True: expected a whole number"),
        ({"labels": 0.125}, "labels=0.125: expected text"),
        ({"crop_size": "65"}, "crop_size='65': expected height and width"),
        ({"model": "resnet101"}, "model='resnet101': expected its fields"),
        ({"num_steps": {"a": 1}}, "num_steps={'a': 1}: expected a value"),
        ({"loss": 3}, "loss=3: expected its fields"),
        ({"loss": {"semi_threshold": True}}, "loss.semi_threshold=True: expected"),
        ({"method": "sasn"}, "method='sasn': expected one of supervised"),
        ({"mean_teacher": {}}, "mean_teacher: the config has no such field"),
    ],
)
def test_a_wrong_value_is_named(fields, message):
    with pytest.raises(InputError) as error:
        parse(fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_some_fields_of_a_config_get_other_values():
    config = override(
        Config(), {"loss.semi_start": 7, "eval.mirror": True, "model": {"qk_reduction": 1}}
    )
    assert config.settings_of(LossWeights).semi_start == 7
    assert config.eval.mirror
    assert (config.model.qk_reduction, config.model.backbone) == (1, "resnet101")
    for name in ("evl.mirror", "eval.miror", "eval.mirror.x", "seed.x", "nope"):
        with pytest.raises(InputError, match=name.split(".")[0]):
            override(config, {name: True})


def test_another_window_gets_a_stride_of_its_own():
    config = override(Config(), {"eval.window": (90, 60), "eval.stride": (9, 6)})
    assert override(config, {"eval.window": ()}).eval.stride == ()
    assert override(config, {"eval.window": (33, 48)}).eval.stride == (22, 32)
    assert override(config, {"eval.window": (33, 48), "eval.stride": (5, 5)}).eval.stride == (5, 5)
    assert override(config, {"eval.mirror": True}).eval.stride == (9, 6)


def test_an_unconverted_file_names_the_backbone_that_it_is_of():
    weights = {"weights": "thin.npz"}
    with pytest.raises(InputError, match=r"^model\.weights='thin\.npz'.* is for model\.backbone="):
        parse({"model": weights})
    assert parse({"model": {**weights, "backbone": "resnet50_thin"}}).model.weights == "thin.npz"


def test_defaults_are_changed_by_their_names():
    assert default_config("supervised", num_steps=5).num_steps == 5
    with pytest.raises(InputError, match="num_step: the config has no such field; did you mean"):
        default_config(num_step=5)
    with pytest.raises(InputError, match="num_steps='many': expected a value like 20000"):
        default_config(num_steps="many")
    with pytest.raises(InputError, match="model: is a group; set its fields in the config"):
        default_config(model={"norm": "batch"})


def test_two_groups_of_one_name_are_refused(monkeypatch):
    for group in ("loss", "model"):
        kind = type("Other", (LossWeights,), {"GROUP": group})
        method = type("Mine", (Supervised,), {"SETTINGS": (kind,)})
        monkeypatch.setitem(METHODS, "mine", method)
        with pytest.raises(ValueError, match=f"mine: its group '{group}' exists already"):
            settings_types()
