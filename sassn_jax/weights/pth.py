"""Tensors in a `.pth` file, read without PyTorch and without running code from the file."""

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from sassn_jax.weights.reading import reading

MAGIC = 0x1950A86A20F9469CFC6C  # begins a file that PyTorch before 1.6 wrote
PROTOCOL = 1001
DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
NESTED = ("state_dict", "model")  # keys under which training scripts save the state dict


class _Storage(NamedTuple):
    """The place of a tensor's numbers, which are read after unpickling."""

    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict that `torch.save` wrote, by name.

    A pickle can name any function for its reader to call. This reader knows only the names that a
    state dict needs, and calls functions of its own for them. It reads the zip files of PyTorch 1.6
    and later, and the format before.

    Args:
      path: a file of a state dict, or of a dict that has one as `state_dict` or `model`.

    Raises:
      InputError: if the file is missing, damaged, or holds anything else.
    """
    with reading(path, "a state dict as torch.save writes it") as path, open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        tensors, arrays = _read_zip(file) if is_zip else _read_legacy(file)
        return {name: _array(x, arrays[x.storage.key]) for name, x in tensors.items()}


def _read_zip(file: io.BufferedIOBase) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip file, but not of torch.save")
        folder = pickles[0].removesuffix("data.pkl")
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # torch never compresses; a bomb does
                raise ValueError(f"{part.filename} is compressed")
        if folder + "byteorder" in archive.namelist():
            _check_byte_order(archive.read(folder + "byteorder") == b"little")
        tree, storages = _unpickle(io.BytesIO(archive.read(pickles[0])))
        tensors, arrays = _state_dict(tree), {}
        for storage in storages.values():
            data = archive.read(f"{folder}data/{storage.key}")
            arrays[storage.key] = _numbers(data, storage)
    return tensors, arrays


def _read_legacy(file: io.BufferedIOBase) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    """Reads magic number, protocol, system, the object, the storages' keys, and their numbers."""
    if _unpickle(file)[0] != MAGIC or _unpickle(file)[0] != PROTOCOL:
        raise ValueError("not a file of torch.save")
    _check_byte_order(_unpickle(file)[0]["little_endian"])
    tree, storages = _unpickle(file)
    tensors, arrays = _state_dict(tree), {}
    for key in _unpickle(file)[0]:
        storage = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.length:
            raise ValueError(f"storage {key} has {count} numbers, {storage.length} announced")
        arrays[key] = _numbers(file.read(count * storage.dtype.itemsize), storage)
    return tensors, arrays


def _check_byte_order(is_little: bool) -> None:
    if not is_little:
        raise ValueError("written on a big-endian machine")


def _unpickle(file: io.BufferedIOBase) -> tuple[Any, dict[str, _Storage]]:
    """Returns one pickled object, and its tensors' storages by key."""
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.storages


class _Unpickler(pickle.Unpickler):
    """Knows only the names that a state dict needs, and replaces each by something harmless."""

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}
        # New functions for each file, because a pickle may set attributes of them.
        rebuild: dict[str, Callable] = {
            "_rebuild_tensor": lambda *view: _Tensor(*view),
            "_rebuild_tensor_v2": lambda *view_and_gradient: _Tensor(*view_and_gradient[:4]),
            "_rebuild_parameter": lambda tensor, *_: tensor,
        }
        self._known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): lambda sizes: tuple(sizes),
            **{("torch._utils", name): function for name, function in rebuild.items()},
            **{("torch", name): name for name in DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name of the pickle."""
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, which no tensor needs; save the state_dict alone"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        """Returns a storage; `pid`: kind, type, key, device, count and, in old files, a view."""
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise pickle.UnpicklingError("it holds more than plain storages")
        storage = _Storage(key, DTYPES[storage_type], count)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key} has two types")
        return storage


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
    if len(data) != storage.length * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} is cut short")
    return np.frombuffer(data, storage.dtype)


def _state_dict(tree: Any) -> dict[str, _Tensor]:
    for name in NESTED:
        if isinstance(tree, Mapping) and isinstance(tree.get(name), Mapping):
            tree = tree[name]
    if not isinstance(tree, Mapping):
        raise ValueError(f"it holds a {type(tree).__name__}, not tensors by name")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"{name!r} is no tensor; save the state_dict alone")
    return dict(tree)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Copies a view. Its bounds are checked, which `as_strided` does not do."""
    _, offset, size, stride = tensor
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (last >= len(numbers) or math.prod(size) > len(numbers)):
        raise ValueError(f"a tensor of size {size} reaches past its storage")
    if 0 in size:
        return np.zeros(size, numbers.dtype)
    steps = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()
