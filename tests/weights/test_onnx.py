"""A trunk in an ONNX graph whose names say nothing."""

import numpy as np
import pytest

from sassn_jax.errors import InputError
from sassn_jax.weights import onnx as reader
from sassn_jax.weights import onnx_layout
from tests.weights.test_resnet import fuse, to_file

onnx = pytest.importorskip("onnx", reason="pip install 'sassn_jax[import]' runs these tests")


def graph_of(arrays, stride_in_first=True, skip=()):
    """The nodes of a ResNet of one block a stage, and its arrays under numbers."""
    nodes, initializers = [], []

    def node(kind, *inputs, **attributes):
        nodes.append(onnx.helper.make_node(kind, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def constant(array):
        initializers.append(onnx.numpy_helper.from_array(array, str(len(initializers))))
        return initializers[-1].name

    def conv(x, name, stride=1):
        inputs = [constant(arrays[f"{name}.{leaf}"]) for leaf in ("weight", "bias")]
        if f"{name}.bias" in skip:
            inputs.pop()
        strides = {} if stride == 1 else {"strides": [stride, stride]}
        return node("Conv", x, *inputs, **strides)

    x = node("MaxPool", node("Relu", conv("images", "conv1", 2)), kernel_shape=[3, 3])
    for stage in range(1, 5):
        stride = 1 if stage == 1 else 2
        first, second = (stride, 1) if stride_in_first else (1, stride)
        block = f"layer{stage}.0"
        shortcut = conv(x, f"{block}.downsample.0", stride)
        y = node("Relu", conv(x, f"{block}.conv1", first))
        y = conv(node("Relu", conv(y, f"{block}.conv2", second)), f"{block}.conv3")
        x = node("Relu", node("Add", *((y, shortcut) if stage % 2 else (shortcut, y))))
    x = node("Reshape", node("GlobalAveragePool", x), constant(np.array([1, -1])))
    x = node("MatMul", x, constant(np.ones((512, 2), np.float32)))
    node("Add", x, constant(np.zeros(2, np.float32)))
    return nodes, initializers


def write(path, nodes, initializers):
    output = onnx.helper.make_tensor_value_info(nodes[-1].output[0], 1, None)
    images = onnx.helper.make_tensor_value_info("images", 1, None)
    graph = onnx.helper.make_graph(nodes, "trunk", [images], [output], initializers)
    onnx.save(onnx.helper.make_model(graph), path)


@pytest.fixture
def arrays(tiny, tmp_path):
    return fuse(to_file(tmp_path / "unused.npz", tiny[1]))


@pytest.mark.parametrize("layout", ["caffe", "torchvision"])
def test_arrays_are_named_by_where_they_stand(arrays, tmp_path, layout):
    write(tmp_path / "trunk.onnx", *graph_of(arrays, stride_in_first=layout == "caffe"))
    named, found = reader.read(tmp_path / "trunk.onnx")
    assert found == layout
    assert set(named) == set(arrays) | {"fc.weight", "fc.bias"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(named[name], array, err_msg=name)


def test_an_array_outside_the_trunk_keeps_its_name(arrays, tmp_path):
    nodes, initializers = graph_of(arrays)
    initializers.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "anchors"))
    write(tmp_path / "trunk.onnx", nodes, initializers)
    named, _ = reader.read(tmp_path / "trunk.onnx")
    assert set(named) == set(arrays) | {"fc.weight", "fc.bias", "anchors"}


def test_arrays_in_other_files_are_refused(arrays, tmp_path):
    nodes, initializers = graph_of(arrays)
    write(tmp_path / "trunk.onnx", nodes, initializers)
    model = onnx.load(tmp_path / "trunk.onnx")
    onnx.save(model, tmp_path / "other.onnx", save_as_external_data=True, location="data")
    with pytest.raises(InputError, match="its arrays are in other files"):
        reader.read(tmp_path / "other.onnx")


def test_a_convolution_without_bias_is_refused(arrays, tmp_path):
    write(tmp_path / "trunk.onnx", *graph_of(arrays, skip=["layer2.0.conv2.bias"]))
    with pytest.raises(InputError, match=r"batch norm fused.*has no bias"):
        reader.read(tmp_path / "trunk.onnx")


def test_another_network_is_refused(tmp_path):
    nodes = [onnx.helper.make_node("Relu", ["images"], ["t0"])]
    write(tmp_path / "relu.onnx", nodes, [])
    with pytest.raises(InputError, match="no convolutions"):
        reader.read(tmp_path / "relu.onnx")


@pytest.mark.parametrize("content", [b"", b"not protobuf", b"\x08\x07\x3a\xff\xff\xff\xff"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "trunk.onnx").write_bytes(content)
    with pytest.raises(InputError, match="expected an ONNX file") as error:
        reader.read(tmp_path / "trunk.onnx")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.onnx.*no such file"):
        reader.read(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x2a\x00", b"\x2a\x04\x42\x00\x4a\x00"])
def test_many_empty_parts_are_refused_before_they_are_parsed(tmp_path, monkeypatch, field):
    """Nodes, arrays, and arrays of an empty name without numbers."""
    monkeypatch.setattr(onnx_layout, "MOST", 2**12)
    graph = field * 2**12
    length = onnx.ModelProto(ir_version=len(graph)).SerializeToString()[1:]  # a varint
    path = tmp_path / "bomb.onnx"
    path.write_bytes(b"\x3a" + length + graph)
    with pytest.raises(InputError, match="more than 4096 bytes besides the numbers of its arr"):
        reader.read(path)


def test_half_a_file_is_refused(arrays, tmp_path):
    path = tmp_path / "trunk.onnx"
    write(path, *graph_of(arrays))
    content = path.read_bytes()
    for end in range(1, len(content), len(content) // 20):
        path.write_bytes(content[:end])
        with pytest.raises(InputError):
            reader.read(path)
