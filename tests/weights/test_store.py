import json

import numpy as np
import pytest
import safetensors.numpy

from sassn_jax.errors import InputError
from sassn_jax.weights import store

ABOUT = {
    "model": {"backbone": "resnet_tiny", "layout": "caffe"},
    "image": {"channel_order": "bgr", "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
    "num_classes": 3,
    "fused": False,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ours.safetensors"


def test_what_was_written_is_read(path):
    kernel = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    variables = {
        "params": {"head": {"conv0": {"kernel": kernel.transpose(2, 0, 1)}, "alpha": np.ones(())}},
        "batch_stats": {"bn1": {"mean": np.zeros(3, np.float32)}},
    }
    store.write(path, variables, ABOUT)
    got, about = store.read(path)
    assert about == ABOUT == store.read_about(path)
    assert set(got) == {"params", "batch_stats"}
    np.testing.assert_array_equal(
        got["params"]["head"]["conv0"]["kernel"], kernel.transpose(2, 0, 1)
    )
    assert got["params"]["head"]["alpha"].shape == ()
    assert store.is_ours(store.read_arrays(path))
    assert not store.is_ours({})
    assert not store.is_ours({"params/head": 0, "conv1.weight": 0})
    assert set(store.read_arrays(path)) == {
        "params/head/conv0/kernel",
        "params/head/alpha",
        "batch_stats/bn1/mean",
    }
    assert [x.name for x in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["ours.npz", "ours", "nowhere/ours.safetensors"])
def test_another_name_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"expected a name that ends in \.safetensors"):
        store.write(tmp_path / name, {}, ABOUT)


@pytest.mark.parametrize("about", [None, {}, "[]", "not JSON", '{"model": {}}'])
def test_a_file_that_says_nothing_of_its_network_is_refused(path, about):
    metadata = {store.KEY: about} if isinstance(about, str) else about
    safetensors.numpy.save_file({"a": np.ones(3)}, path, metadata)
    with pytest.raises(InputError, match=r"ours\.safetensors.*expected a \.safetensors file"):
        store.read(path)
    assert set(store.read_arrays(path)) == {"a"}


@pytest.mark.parametrize(
    "change",
    [{"model": {"backbone": "resnet_tiny"}}, {"model": {}}, {"model": []}, {"image": None}],
)
def test_a_file_that_leaves_something_out_is_refused(path, change):
    store.write(path, {"params": {"a": np.ones(3)}}, {**ABOUT, **change})
    with pytest.raises(InputError, match="not written by `sassn import_weights`"):
        store.read_about(path)


@pytest.mark.parametrize("content", [b"", b"12345678 and more", b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a \.safetensors file") as error:
        store.read(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors: expected a .* \(no such file\)"):
        store.read(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("params/a", "params/a/b"), "names like params/backbone/conv1/kernel"),
        (("params" + "/a" * 1000,), "a name of more than 20 parts"),
    ],
)
def test_names_that_are_no_tree_are_refused(path, names, message):
    arrays = {name: np.ones(2, np.float32) for name in names}
    safetensors.numpy.save_file(arrays, path, {store.KEY: json.dumps(ABOUT)})
    with pytest.raises(InputError, match=message) as error:
        store.read(path)
    assert "\n" not in str(error.value)


def test_a_description_that_is_nested_deeply_is_refused(path):
    safetensors.numpy.save_file({}, path, {store.KEY: "[" * 100_000})
    with pytest.raises(InputError, match="in each other more than 50 times"):
        store.read_about(path)
