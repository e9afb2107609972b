"""Runs of the networks on a VGG, from a file under torchvision's names to one of ours."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from configs import scenes
from sassn_jax.conversion.importing import import_weights
from sassn_jax.errors import InputError
from sassn_jax.models.vgg_network import VGGNetwork
from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.recipes import parse
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.weights import store
from sassn_jax.weights.names import vgg_name
from tests.training.conftest import tiny_config
from tests.trees import random_variables

pytestmark = pytest.mark.usefixtures("small_runs", "fast_compile")


@pytest.fixture(scope="module")
def trunk():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    variables = random_variables(VGGNetwork(3, "vgg_tiny"), images, train=False)
    return jax.tree.map(np.asarray, variables["params"]["backbone"])


@pytest.fixture
def source(trunk, tmp_path):
    """A file as of torchvision's vgg16, but for the sizes."""
    arrays = {"classifier.6.weight": np.ones((10, 64)), "classifier.6.bias": np.ones(10)}
    for path, x in traverse_util.flatten_dict(trunk).items():
        name = vgg_name(path)
        x = x.transpose(3, 2, 0, 1) if x.ndim == 4 else x
        is_matrix = name.startswith("classifier") and x.ndim == 4
        arrays[name] = x.reshape(len(x), -1) if is_matrix else x
    np.savez(tmp_path / "theirs.npz", **arrays)
    return tmp_path / "theirs.npz"


@pytest.fixture
def imported(source, tmp_path):
    import_weights(source, "vgg_tiny", tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def test_import(source, trunk, tmp_path):
    result = import_weights(source, "vgg_tiny", tmp_path / "vgg.safetensors")
    variables, about = store.read(tmp_path / "vgg.safetensors")
    assert set(variables) == {"params"}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], {"backbone": trunk})
    assert result.num_arrays == 2 * 15
    assert result.left_out == ("classifier.6.weight (10, 64)", "classifier.6.bias (10,)")
    assert (about["model"]["backbone"], about["fused"]) == ("vgg_tiny", False)
    assert about["image"]["channel_order"] == "rgb"
    import_weights(source, "vgg_tiny", tmp_path / "caffe.safetensors", convention="caffe")
    assert store.read_about(tmp_path / "caffe.safetensors")["image"]["channel_order"] == "bgr"
    with pytest.raises(InputError, match=r"features\.0\.weight is \(8, 3, 3, 3\), expected \(64,"):
        import_weights(source, "vgg16", tmp_path / "other.safetensors")


def test_a_run_from_such_a_file_to_a_file_of_its_own(imported, trunk, tmp_path, capsys):
    config = tiny_config("fcn8s")
    config.model.weights = str(imported)
    config.num_steps = config.eval_every = 2
    workdir = tmp_path / "run"
    state = train_and_evaluate(config, workdir)
    assert "backbone from" in capsys.readouterr().out
    assert state.generator.collections == {}
    assert state.discriminator is None
    learned = jax.device_get(state.generator.params["backbone"])
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), learned, trunk)
    assert 0 < max(jax.tree.leaves(moved)) < 4 * config.optimizer.lr  # two steps of AdamW
    run = load_run(workdir)
    assert run.step == 2
    jax.tree.map(np.testing.assert_array_equal, run.variables["params"], state.generator.params)
    export_run(workdir, tmp_path / "ours.safetensors")
    assert evaluate_run(tmp_path / "ours.safetensors", "val") == evaluate_run(workdir, "val")
    about = store.read_about(tmp_path / "ours.safetensors")
    assert about["model"]["head"] == "fcn8s"
    assert about["image"] == store.read_about(imported)["image"]


@pytest.mark.parametrize(
    ("method", "field", "value", "message"),
    [
        ("fcn8s", "model.backbone", "resnet101",
         "model.head='fcn8s': expected one of deeplabv2, deeplabv3 on backbone='resnet101'"),
        ("dilation", "model.head", "deeplabv3",
         "model.head='deeplabv3': expected one of fcn8s, dilation8, dilation10 on "
         "backbone='vgg_tiny'"),
        ("sassn", "model.backbone", "vgg16", "model.head='deeplabv2': expected one of fcn8s"),
        ("fcn8s", "model.attention", ("layer3",),
         r"model.attention=\('layer3',\): expected \(\) on backbone='vgg_tiny'"),
        ("dilation", "model.auxiliary_head", True,
         "model.auxiliary_head=True: expected False on backbone='vgg_tiny'"),
        ("fcn8s", "model.weights", "vgg16.npz",
         r"model.weights='vgg16.npz': expected a .safetensors file of `sassn import_weights`"),
        ("fcn8s", "model.backbone", "vgg19", "model.backbone='vgg19': expected one of resnet101"),
    ],
)  # fmt: skip
def test_a_combination_that_cannot_be_is_named(method, field, value, message):
    config = scenes.get_config(f"method={method}")
    parse(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message) as error:
        parse(config)
    assert "\n" not in str(error.value)
