"""Tensors in a `.pth` file, read without PyTorch and without running code from the file."""

import io
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from sassn_jax.weights import pickles
from sassn_jax.weights.reading import check_expansion, reading

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
    state dict needs, and calls functions of its own for them, see `pickles`. It reads the zip files
    of PyTorch 1.6 and later, and the format before. Sizes are checked before memory is taken.

    Args:
      path: a file of a state dict, or of a dict that has one as `state_dict` or `model`.

    Raises:
      InputError: if the file is missing, damaged, or holds anything else, or if its tensors take
        far more memory than its size.
    """
    with reading(path, "a state dict as torch.save writes it") as path, open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        tensors, arrays = (_read_zip if is_zip else _read_legacy)(file)
        for tensor in tensors.values():
            _check_bounds(tensor, len(arrays[tensor.storage.key]))
        needed = sum(math.prod(x.size) * x.storage.dtype.itemsize for x in tensors.values())
        check_expansion(needed, path)  # many views can share one storage
        return {name: _array(x, arrays[x.storage.key]) for name, x in tensors.items()}


def _read_zip(file: io.BufferedReader) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError("a zip file, but not of torch.save")
        folder = found[0].removesuffix("data.pkl")
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:  # torch never compresses; a bomb does
                raise ValueError(f"{part.filename} is compressed")
        if sum(part.file_size for part in archive.infolist()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its parts state a larger size than the file has")
        if folder + "byteorder" in archive.namelist():
            _check_byte_order(archive.read(folder + "byteorder") == b"little")
        tree, storages = _unpickle(io.BytesIO(archive.read(found[0])))
        tensors, arrays = _state_dict(tree), {}
        for storage in storages.values():
            data = archive.read(f"{folder}data/{storage.key}")
            arrays[storage.key] = _numbers(data, storage)
    return tensors, arrays


def _read_legacy(file: io.BufferedReader) -> tuple[dict[str, _Tensor], dict[str, np.ndarray]]:
    """Reads magic number, protocol, system, the object, the storages' keys, and their numbers."""
    content = file.read()
    start = io.BytesIO(content)  # reads no more than there is, whatever size a pickle states
    if _unpickle(start)[0] != MAGIC or _unpickle(start)[0] != PROTOCOL:
        raise ValueError("not a file of torch.save")
    _check_byte_order(_unpickle(start)[0]["little_endian"])
    tree, storages = _unpickle(start)
    tensors, arrays = _state_dict(tree), {}
    for key in _unpickle(start)[0]:
        if not isinstance(key, str) or key not in storages:
            raise ValueError("it has numbers of no tensor")
        storage = storages[key]
        (count,) = struct.unpack("<q", start.read(8))
        if count != storage.length:
            raise ValueError(f"storage {key} has {count} numbers, {storage.length} announced")
        length = count * storage.dtype.itemsize
        arrays[key] = _numbers(memoryview(content)[start.tell() :][:length], storage)
        start.seek(length, io.SEEK_CUR)
    return tensors, arrays


def _check_byte_order(is_little: bool) -> None:
    if not is_little:
        raise ValueError("written on a big-endian machine")


def _unpickle(file: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """Returns one pickled object, and its tensors' storages by key."""
    storages: dict[str, _Storage] = {}

    def storage(pid: Any) -> _Storage:
        """Returns a storage; `pid`: kind, type, key, device, count and, in old files, a view."""
        kind, storage_type, key, _, count, *view = pid
        if not all(isinstance(x, str) for x in (kind, storage_type, key)) or type(count) is not int:
            raise ValueError("it holds no plain storages")
        if kind != "storage" or any(part is not None for part in view):
            raise ValueError("it holds more than plain storages")
        found = _Storage(key, DTYPES[storage_type], count)
        if storages.setdefault(key, found) != found:
            raise ValueError(f"storage {key} has two types")
        return found

    return pickles.load(file, KNOWN, storage), storages


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor`; what follows the stride concerns gradients."""
    numbers = isinstance(size, tuple) and isinstance(stride, tuple) and (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not numbers or any(type(x) is not int for x in numbers):
        raise ValueError("a tensor without storage, offset, size and stride")
    return _Tensor(storage, offset, size, stride)


def _dict(items: Any = ()) -> dict[Any, Any]:
    """Stands for `collections.OrderedDict`."""
    made: dict[Any, Any] = {}
    pickles.set_items(made, items)
    return made


# What stands for the names that a state dict needs.
KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): name for name in DTYPES},
}


def _numbers(data: bytes | memoryview, storage: _Storage) -> np.ndarray:
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


def _check_bounds(tensor: _Tensor, length: int) -> None:
    """Checks that a view lies in its storage of this length, which `as_strided` does not do."""
    _, offset, size, stride = tensor
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (last >= length or math.prod(size) > length):
        raise ValueError(f"a tensor of size {size} reaches past its storage")


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    """Copies a view that is within its bounds."""
    _, offset, size, stride = tensor
    if 0 in size:
        return np.zeros(size, numbers.dtype)
    steps = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()
