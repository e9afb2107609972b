"""What is timed beside our prediction of images."""

import sys

import numpy as np
import pytest

from configs import scenes
from experiments.benchmarks.inference import call_of_onnx
from experiments.benchmarks.torch_network import network_obstacle
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)


@pytest.fixture
def softmax_file(tmp_path):
    """A file whose probabilities are the softmax of an image's three channels."""
    onnx = pytest.importorskip("onnx", reason="needs onnx (the extra import)")
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    helper, types = onnx.helper, onnx.TensorProto
    shape = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["wide"], to=types.FLOAT),
            helper.make_node("Softmax", ["wide"], ["probabilities"], axis=-1),
            helper.make_node("ArgMax", ["probabilities"], ["ids"], axis=-1, keepdims=0),
        ],
        "softmax",
        [helper.make_tensor_value_info("images", types.UINT8, shape)],
        [
            helper.make_tensor_value_info("ids", types.INT64, shape[:3]),
            helper.make_tensor_value_info("probabilities", types.FLOAT, shape),
        ],
    )
    path = tmp_path / "softmax.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_probabilities_of_an_onnx_file(softmax_file):
    powers = np.exp(IMAGES - IMAGES.max(axis=-1, keepdims=True).astype(np.float64))
    expected = powers / powers.sum(axis=-1, keepdims=True)
    given = call_of_onnx(softmax_file, IMAGES, 3)(IMAGES)
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_an_onnx_file_that_cannot_be_timed(softmax_file, tmp_path):
    with pytest.raises(InputError, match=r"onnx=.*: gives no probabilities of shape \(2, 4, 5, 8"):
        call_of_onnx(softmax_file, IMAGES, 8)
    with pytest.raises(InputError, match=r"onnx=.*cannot predict \(2, 4, 5, 2\) uint8 RGB images"):
        call_of_onnx(softmax_file, IMAGES[..., :2], 3)
    with pytest.raises(InputError, match=r"onnx=.*missing\.onnx': no such file"):
        call_of_onnx(tmp_path / "missing.onnx", IMAGES, 3)


def test_onnx_runtime_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime is not installed; pip install"):
        call_of_onnx(tmp_path / "model.onnx", IMAGES, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("head", "deeplabv3"), ("auxiliary_head", True), ("dtype", "bfloat16")],
)
def test_networks_that_pytorchs_side_does_not_have(field, value):
    pytest.importorskip("torch", reason="needs PyTorch (make parity)")
    config = scenes.get_config("method=supervised")
    assert network_obstacle(parse(config).model) is None
    config.model[field] = value
    assert "its side" in network_obstacle(parse(config).model)
