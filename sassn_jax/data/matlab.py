"""One array of a MATLAB file, read without SciPy, which a damaged file can crash."""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

HEAD = 128  # bytes of text before the first element; its last two tell the order of bytes
# Types of elements, and classes of arrays, in "MAT-File Format" by The MathWorks.
UINT8, INT32, UINT32, MATRIX, COMPRESSED = 2, 5, 6, 14, 15
STRUCT, UINT8_CLASS = 2, 9


def read_field(content: bytes, variable: str, field: str, most: int) -> UInt8[np.ndarray, "H W"]:
    """Returns `variable.field` of a file of MATLAB 5 or later: a matrix of unsigned bytes.

    Args:
      content: of the file.
      variable: the name of a structure, not of several in an array.
      field: the name of its field.
      most: bytes that the compressed variables up to this one may take once they are unpacked.

    Raises:
      ValueError: if the file is damaged or takes more, or if there is no such matrix.
      struct.error, zlib.error: if the file is damaged.
    """
    order = ">" if content[HEAD - 2 : HEAD] == b"MI" else "<"
    for kind, part in _elements(content[HEAD:], order):
        if kind == COMPRESSED:
            unpacked = _unpacked(part, most)
            most -= len(unpacked)
            kind, part = next(_elements(unpacked, order), (0, b""))
        if kind != MATRIX:
            continue
        array_class, shape, name, elements = _matrix(part, order)
        if name == variable and array_class == STRUCT and math.prod(shape) == 1:
            return _bytes_of(_member(elements, field, order), order)
    raise ValueError(f"it has no structure {variable}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yields the type and the data of each element that stands one after the other."""
    start = 0
    while start < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, start)
        begin = start + 8
        if kind >> 16:  # of at most four bytes, which stand where the length does otherwise
            kind, length, begin = kind & 0xFFFF, kind >> 16, start + 4
        end = begin + length
        if end > len(data) or (begin == start + 4 and length > 4):
            raise ValueError("an element is longer than what is left of the file")
        yield kind, data[begin:end]
        # Elements begin at multiples of eight bytes, but for what follows a compressed one.
        start = end if kind == COMPRESSED else end + (start - end) % 8


def _unpacked(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, most + 1)
    if len(unpacked) > most:
        raise ValueError(f"it takes more than {most} bytes once it is unpacked")
    if not stream.eof:  # and so its checksum has not been compared
        raise ValueError("it is cut short")
    return unpacked


def _matrix(data: bytes, order: str) -> tuple[int, tuple[int, ...], str, list[tuple[int, bytes]]]:
    """Returns class, shape and name of an array, and the elements that follow these."""
    parts = list(_elements(data, order))
    if len(parts) < 4:
        raise ValueError("an array has too few elements")
    (kind, flags), (shape_kind, shape), (_, name), *elements = parts
    if (kind, shape_kind) != (UINT32, INT32):
        raise ValueError("an array has no class and shape")
    array_class = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    return array_class, sizes, name.decode("latin-1"), elements


def _member(elements: list[tuple[int, bytes]], field: str, order: str) -> bytes:
    """Returns the data of the array in a field of a structure."""
    if len(elements) < 2:
        raise ValueError("a structure has no names of fields")
    (_, longest), (_, names), *fields = elements
    length = struct.unpack(f"{order}i", longest)[0]
    if length < 1:
        raise ValueError("a structure has no names of fields")
    for start, (kind, data) in zip(range(0, len(names), length), fields, strict=False):
        if names[start : start + length].partition(b"\0")[0] == field.encode():
            if kind != MATRIX:
                raise ValueError(f"{field} is no array")
            return data
    raise ValueError(f"its structure has no field {field}")


def _bytes_of(data: bytes, order: str) -> UInt8[np.ndarray, "H W"]:
    array_class, shape, _, elements = _matrix(data, order)
    if array_class != UINT8_CLASS or len(shape) != 2:
        raise ValueError(
            f"an array of class {array_class} and shape {shape}; expected one channel of 8-bit "
            f"class ids, which is class {UINT8_CLASS}"
        )
    (kind, values), *imaginary = elements
    if kind != UINT8 or imaginary or min(shape) < 1 or math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} bytes, which are no matrix of {shape}")
    return np.frombuffer(values, np.uint8).reshape(shape, order="F")
