"""What Pillow does not tell of a PNG file (ISO/IEC 15948)."""

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row of each pass of an interlaced image, and the steps to the next ones.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PIECE = 2**20  # bytes that are unpacked at a time, whatever a file unpacks to


def bit_depth(content: bytes) -> int:
    """Bits of a channel of a PNG file for which `check_whole` has passed."""
    return content[24]


def check_whole(content: bytes) -> None:
    """Checks that no byte of a PNG file's pixels is damaged or missing.

    Pillow takes damaged pixels as they come, and fills those that are missing.

    Raises:
      ValueError: where a chunk's sum is wrong, there is not one header in front, or the pixels end
        too early.
    """
    start, unpacked, pixels = len(_SIGNATURE), 0, zlib.decompressobj()
    kinds: list[bytes] = []
    try:
        while start < len(content) and kinds[-1:] != [b"IEND"]:
            length, kind = struct.unpack_from(">I4s", content, start)
            data = content[start + 8 : start + 8 + length]
            (checksum,) = struct.unpack_from(">I", content, start + 8 + length)
            if zlib.crc32(kind + data) != checksum:
                raise ValueError(f"damaged: the sum of its chunk {kind!r} is wrong")
            while kind == b"IDAT" and data and not pixels.eof:
                unpacked += len(pixels.decompress(data, _PIECE))
                data = pixels.unconsumed_tail
            kinds.append(kind)
            start += 12 + length
        if kinds[:1] != [b"IHDR"] or kinds.count(b"IHDR") != 1:
            raise ValueError("damaged: it does not begin with its one header, IHDR")
        is_whole = pixels.eof and unpacked >= _size(*struct.unpack_from(">IIBB2xB", content, 16))
    except (KeyError, struct.error, zlib.error) as error:
        raise ValueError(f"damaged: {error}") from None
    if not is_whole:
        raise ValueError("damaged: its pixels end too early")


def _size(width: int, height: int, depth: int, color_type: int, interlaced: int) -> int:
    """Bytes of an image's rows before they are packed, each with a byte for its filter."""
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * _CHANNELS[color_type] * depth // 8))
    return total
