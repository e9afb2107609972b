"""A bottleneck ResNet in an ONNX file, under torchvision's names."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sassn_jax.errors import InputError
from sassn_jax.weights import onnx_layout
from sassn_jax.weights.reading import reading

LAYOUTS = {(2, 1): "caffe", (1, 2): "torchvision"}  # by the strides of a block's conv1 and conv2


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], str]:
    """Reads a trunk whose batch norm is fused into its convolutions.

    The names in the file do not matter: an array is recognized by its place in the graph.

    Returns:
      The arrays, kernels OIHW, under torchvision's names: a convolution's `weight` and `bias`, `fc`
      for a dense layer behind the trunk. Other arrays keep their names. And the layout that the
      strides show, see `ResNet`.

    Raises:
      InputError: if the file is missing or damaged, holds another kind of network, keeps its arrays
        in other files, would take far more memory than its size, or onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise InputError(
            f"{os.fspath(path)}: onnx is not installed; pip install 'sassn_jax[import]'"
        ) from None
    expected = "an ONNX file of a bottleneck ResNet with batch norm fused into its convolutions"
    with reading(path, expected) as path:
        content = path.read_bytes()
        onnx_layout.check(content)
        graph = onnx.load_model_from_string(content).graph
        arrays = {}
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise ValueError("its arrays are in other files")
            array = onnx.numpy_helper.to_array(tensor)
            if np.issubdtype(array.dtype, np.floating):  # integers are sizes, for reshaping
                arrays[tensor.name] = array
        return _Graph(graph.node, arrays).name_arrays()


class _Graph:
    """A ResNet's graph; its blocks are found by going backwards from the residual sums."""

    def __init__(self, nodes: Any, arrays: Mapping[str, np.ndarray]):
        self.nodes, self.arrays = nodes, dict(arrays)
        self.named: dict[str, np.ndarray] = {}
        self.maker = {output: node for node in nodes for output in node.output}

    def name_arrays(self) -> tuple[dict[str, np.ndarray], str]:
        """Returns the arrays under torchvision's names, and the layout."""
        layouts = set()
        convs = [node for node in self.nodes if node.op_type == "Conv"]
        if not convs:
            raise ValueError("no convolutions")
        self._take(convs[0], "conv1")
        stage, block = 0, 0
        for paths in self._blocks():
            (longer, shorter) = sorted(paths, key=len, reverse=True)
            if len(longer) != 3 or len(shorter) > 1:
                raise ValueError(f"a block of {len(longer)} convolutions beside {len(shorter)}")
            stage, block = (stage + 1, 0) if shorter else (stage, block + 1)
            name = f"layer{stage}.{block}"
            for i, conv in enumerate(longer, start=1):
                self._take(conv, f"{name}.conv{i}")
            for conv in shorter:
                self._take(conv, f"{name}.downsample.0")
            strides = _stride(longer[0]), _stride(longer[1])
            layouts.update([LAYOUTS[strides]] if strides in LAYOUTS else [])
        if len(layouts) != 1:
            raise ValueError("no stage halves its input in one of the two known ways")
        self._take_dense()
        return {**self.named, **self.arrays}, layouts.pop()

    def _blocks(self) -> Iterator[list[list[Any]]]:
        """Yields, for each residual sum, the convolutions of the two paths that lead to it."""
        for node in self.nodes:
            if node.op_type == "Add" and not set(node.input) & self.arrays.keys():
                yield [self._path(name) for name in node.input]

    def _path(self, name: str) -> list[Any]:
        """Returns the convolutions, first to last, between the block before and an output."""
        convs: list[Any] = []
        for _ in self.nodes:  # not `while True`: a damaged graph may have a cycle
            node = self.maker[name]
            if node.op_type not in ("Conv", "Relu"):
                break
            name = node.input[0]
            if node.op_type == "Conv":
                convs.insert(0, node)
            elif self.maker[name].op_type == "Add":
                break  # the block before ends here
        return convs

    def _take(self, conv: Any, name: str) -> None:
        _, kernel, *bias = conv.input
        if not bias:
            raise ValueError(f"{conv.name} has no bias")
        self.named[f"{name}.weight"] = self.arrays.pop(kernel)
        self.named[f"{name}.bias"] = self.arrays.pop(bias[0])

    def _take_dense(self) -> None:
        """Takes the classifier: a matrix product and a sum, or one node for both."""
        for node in self.nodes:
            if node.op_type in ("MatMul", "Gemm", "Add"):
                for name in node.input:
                    if name in self.arrays:
                        leaf = "weight" if self.arrays[name].ndim == 2 else "bias"
                        self.named[f"fc.{leaf}"] = self.arrays.pop(name)


def _stride(conv: Any) -> int:
    strides = [attribute.ints for attribute in conv.attribute if attribute.name == "strides"]
    return strides[0][0] if strides else 1
