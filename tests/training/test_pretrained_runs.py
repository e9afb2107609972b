"""Runs that start from a file of weights: what they take of it, and what they refuse."""

import json
import zipfile

import jax
import numpy as np
import pytest

from sassn_jax.conversion.importing import import_weights
from sassn_jax.data import Normalize
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse, resolve
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.weights import store
from tests.training.conftest import tiny_config
from tests.weights.test_resnet import to_file


@pytest.fixture
def weights(trunk, tmp_path):
    to_file(tmp_path / "source.npz", trunk)
    import_weights(tmp_path / "source.npz", "resnet_tiny", tmp_path / "ours.safetensors")
    return tmp_path / "ours.safetensors"


@pytest.mark.usefixtures("small_runs", "fast_compile")
def test_a_run_takes_images_and_layout_from_its_weights(weights, trunk, tmp_path, capsys):
    config = tiny_config("supervised")
    config.model.weights = str(weights)
    config.model.norm = "frozen"
    config.num_steps = 1
    before = config.to_dict()
    state = train_and_evaluate(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert "backbone from" in said
    assert "set from " in said
    assert ": model.layout='torchvision', image.mean=(123.675, 116.28, 103.53)" in said
    assert config.to_dict() == before
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["image"] == store.read_about(weights)["image"]
    assert written["model"]["layout"] == "torchvision"
    stats = state.generator.collections["batch_stats"]["backbone"]
    jax.tree.map(np.testing.assert_array_equal, stats, trunk["batch_stats"])
    train_and_evaluate(config, tmp_path / "run")  # goes on: the same config


def test_a_run_refuses_weights_of_another_network(weights):
    config = tiny_config("supervised")
    config.model.weights = str(weights)
    config.model.backbone = "resnet50"
    with pytest.raises(InputError, match=r"model\.backbone='resnet50': the weights.*resnet_tiny"):
        resolve(parse(config))


def test_no_weights_leave_a_config_alone():
    config = tiny_config("supervised")
    assert resolve(parse(config)) == (parse(config), ())


@pytest.mark.parametrize("name", ["r.pth", "r.pt", "r.onnx", "r.npz", "r.PTH", "r.h5", "r"])
@pytest.mark.parametrize("backbone", ["resnet_tiny", "resnet50_thin"])
def test_a_run_takes_other_projects_files_only_imported(tmp_path, name, backbone):
    config = tiny_config("supervised")
    config.model.backbone = backbone
    config.model.weights = str(tmp_path / name)
    with zipfile.ZipFile(config.model.weights, "w") as archive:  # what PyTorch writes is one
        archive.writestr("r/data.pkl", b"a pickle")
    with pytest.raises(InputError, match=r"model\.weights=.*sassn import_weights") as error:
        resolve(parse(config))
    assert "\n" not in str(error.value)


def test_a_run_knows_what_an_unconverted_file_was_trained_on(tmp_path):
    """Whatever the config says: else torchvision's trunk would be fed images of Caffe's."""
    config = tiny_config("supervised")
    config.model.backbone = "resnet50_thin"
    config.model.weights = str(tmp_path / "thin.npz")
    config.model.layout = "torchvision"
    config.image.mean = (1.0, 2.0, 3.0)
    np.savez(config.model.weights, **{"conv1.weight": np.ones(3), "conv1.bias": np.ones(3)})
    resolved, changed = resolve(parse(config))
    assert resolved.model.layout == "caffe"
    assert resolved.image == Normalize("bgr", (104.0, 117.0, 123.0), (57.0, 57.0, 57.0))
    assert changed == (
        "model.layout='caffe'",
        "image.channel_order='bgr'",
        "image.mean=(104.0, 117.0, 123.0)",
        "image.std=(57.0, 57.0, 57.0)",
    )
    config.model.backbone = "resnet101"
    with pytest.raises(InputError, match=r"model\.weights=.*sassn import_weights"):
        resolve(parse(config))
