import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from sassn_jax.errors import InputError
from sassn_jax.models.layers import BatchNorm
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from sassn_jax.weights import load_backbone
from sassn_jax.weights.matching import EPSILON
from sassn_jax.weights.names import resnet_name


def to_file(path, variables):
    """Writes variables as a torchvision file; returns the arrays."""
    arrays = {
        resnet_name(leaf_path): x.transpose(3, 2, 0, 1) if x.ndim == 4 else x
        for tree in variables.values()
        for leaf_path, x in traverse_util.flatten_dict(tree).items()
    }
    np.savez(path, **arrays)
    return arrays


def fuse(arrays):
    """Batch norm folded into weights and biases, as inference engines do."""
    fused = {}
    for name in [name for name in arrays if arrays[name].ndim == 4]:
        norm = name.removesuffix(".weight").replace("conv", "bn").replace("sample.0", "sample.1")
        gain = arrays[f"{norm}.weight"] / np.sqrt(arrays[f"{norm}.running_var"] + EPSILON)
        shift = arrays[f"{norm}.bias"] - gain * arrays[f"{norm}.running_mean"]
        fused[name] = arrays[name] * gain[:, None, None, None]
        fused[name.replace(".weight", ".bias")] = shift
    return fused


def features(backbone, variables, images):
    """The trunk's two outputs in evaluation."""
    return jax.jit(functools.partial(backbone.apply, train=False))(variables, images)


def zeros_like(variables):
    return jax.tree.map(np.zeros_like, variables)


def test_every_array_finds_its_place(tiny, tmp_path):
    _, variables = tiny
    to_file(tmp_path / "w.npz", variables)
    loaded, fused = load_backbone(tmp_path / "w.npz", zeros_like(variables))
    assert not fused
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_the_classifier_and_counters_of_torchvision_are_left_out(tiny, tmp_path):
    _, variables = tiny
    arrays = to_file(tmp_path / "w.npz", variables)
    extra = {
        "fc.weight": np.zeros((1000, 512)),
        "fc.bias": np.zeros(1000),
        "layer1.0.bn1.num_batches_tracked": np.array(7),
    }
    np.savez(tmp_path / "w.npz", **arrays, **extra)
    loaded, fused = load_backbone(tmp_path / "w.npz", zeros_like(variables))
    assert not fused
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_a_fused_file_gives_the_same_function_of_images_divided_by_57(tiny, tmp_path):
    backbone, variables = tiny
    np.savez(tmp_path / "w.npz", **fuse(to_file(tmp_path / "w.npz", variables)))
    loaded, fused = load_backbone(tmp_path / "w.npz", zeros_like(variables))
    images = jax.random.normal(jax.random.key(1), (2, 33, 41, 3))
    want = features(backbone, variables, images)
    assert fused
    got = features(backbone, loaded, images / 57)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4 * np.abs(y).max())


def test_the_epsilon_is_that_of_the_networks_norm():
    assert BatchNorm("frozen").epsilon == EPSILON


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("layer3.0.conv2.weight"),
            r"layer3\.0\.conv2\.weight \(64, 64, 3, 3\) is missing",
        ),
        (
            lambda arrays: arrays.update({"layer3.1.conv1.weight": np.zeros((8, 4, 1, 1))}),
            r"layer3\.1\.conv1\.weight \(8, 4, 1, 1\) has no place",
        ),
        (
            lambda arrays: arrays.update({"conv1.weight": np.zeros((16, 3, 3, 3))}),
            r"conv1\.weight is \(16, 3, 3, 3\), expected \(16, 3, 7, 7\)",
        ),
        (
            lambda arrays: arrays.pop("layer2.0.downsample.1.running_var"),
            r"layer2\.0\.downsample\.1\.running_var \(128,\) is missing",
        ),
    ],
)
def test_what_does_not_fit_is_listed_on_one_line(tiny, tmp_path, change, message):
    _, variables = tiny
    arrays = to_file(tmp_path / "w.npz", variables)
    change(arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=message) as error:
        load_backbone(tmp_path / "w.npz", variables)
    assert "\n" not in str(error.value)
    assert "1 differ" in str(error.value)


def test_a_file_of_another_network_gives_a_short_message(tiny, tmp_path):
    _, variables = tiny
    np.savez(tmp_path / "w.npz", **{f"blocks.{i}.weight": np.zeros(3) for i in range(300)})
    with pytest.raises(InputError, match=r"differ: .*; \.\.\.$") as error:
        load_backbone(tmp_path / "w.npz", variables)
    assert len(str(error.value)) < 1000


REAL = pathlib.Path(__file__).parents[3] / "shared" / "weights" / "resnet50_thin.npz"


@pytest.mark.skipif(not REAL.exists(), reason=f"the real weights are not at {REAL}")
def test_the_real_file_fits_resnet50_thin():
    backbone = ResNet(ARCHITECTURES["resnet50_thin"], norm="frozen")
    shapes = jax.eval_shape(
        lambda: backbone.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    params = load_backbone(REAL, shapes)[0]["params"]
    assert params["layer4_2"]["conv3"]["kernel"].shape == (1, 1, 256, 1024)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
