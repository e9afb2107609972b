"""What an ONNX file is made of, looked at before the package onnx parses it.

Parsed, a node takes some 150 bytes even if it has 2 in the file. Networks have few nodes and many
numbers, so here all that is no number has a limit.
"""

from collections.abc import Iterator

MOST = 2**22  # bytes: the nodes of a ResNet-152 have about 100,000
# Numbers of fields in the messages ModelProto, GraphProto and TensorProto of onnx.proto.
_GRAPH, _INITIALIZER, _EXTERNAL_DATA = 7, 5, 13
_NUMBERS = (4, 5, 7, 9, 10, 11)  # float_data, int32_data, int64_data, raw_data and so on
_FIXED = {1: 8, 5: 4}  # bytes of a value by its wire type


def check(content: bytes) -> None:
    """Checks the content of an ONNX file.

    Raises:
      ValueError: if it is cut short, if it has more than `MOST` bytes besides the numbers of
        arrays, or if its arrays are in other files.
    """
    others = 0
    for number, part in _fields(memoryview(content)):
        if number != _GRAPH:
            others += len(part) + 2
            continue
        for kind, inner in _fields(part):
            if kind != _INITIALIZER:
                others += len(inner) + 2
            else:
                others += _besides_numbers(inner)
            if others > MOST:
                break
    if others > MOST:
        raise ValueError(f"more than {MOST} bytes besides the numbers of its arrays")


def _besides_numbers(tensor: memoryview) -> int:
    """Returns how many bytes of an array are none of its numbers."""
    others = 2
    for number, part in _fields(tensor):
        if number == _EXTERNAL_DATA:
            raise ValueError("its arrays are in other files")
        if number not in _NUMBERS or len(part) <= 8:  # one number by itself
            others += len(part) + 2
        if others > MOST:
            break
    return others


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields number and value of the fields of a message, as protocol buffers encode them."""
    start = 0
    while start < len(message):
        key, start = _varint(message, start)
        wire_type = key & 7
        if wire_type == 0:
            _, end = _varint(message, start)
        elif wire_type == 2:
            length, start = _varint(message, start)
            end = start + length
        elif wire_type in _FIXED:
            end = start + _FIXED[wire_type]
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        if end > len(message):
            raise ValueError("it is cut short")
        yield key >> 3, message[start:end]
        start = end


def _varint(message: memoryview, start: int) -> tuple[int, int]:
    """Returns a number of 7 bits a byte, the lowest first, and the place after it."""
    value = 0
    for place in range(start, min(start + 10, len(message))):
        value |= (message[place] & 127) << (7 * (place - start))
        if message[place] < 128:
            return value, place + 1
    raise ValueError("it is cut short")
