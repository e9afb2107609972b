"""Checks of PNG files (ISO/IEC 15948) that Pillow does not make."""

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row of each pass of an interlaced image; steps to the next column and row.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PIECE = 2**20  # bytes to unpack at a time, so that no file can fill the memory


def bit_depth(content: bytes) -> int:
    """Returns the bits per channel of a PNG file that has passed `check_whole`."""
    return content[24]


def check_whole(content: bytes) -> None:
    """Checks that no pixel of a PNG file is damaged or missing.

    Pillow reads damaged pixels without an error, and fills in missing ones.

    Raises:
      ValueError: if a chunk's checksum is wrong, if the file does not begin with its only header,
        if pixels are missing, or if there is far more than the pixels.
    """
    start, unpacked, pixels = len(_SIGNATURE), 0, zlib.decompressobj()
    kinds: list[bytes] = []
    try:
        size = _size(*struct.unpack_from(">IIBB2xB", content, 16))
        while start < len(content) and kinds[-1:] != [b"IEND"]:
            length, kind = struct.unpack_from(">I4s", content, start)
            data = content[start + 8 : start + 8 + length]
            (checksum,) = struct.unpack_from(">I", content, start + 8 + length)
            if zlib.crc32(kind + data) != checksum:
                raise ValueError(f"damaged: the checksum of its chunk {kind!r} is wrong")
            while kind == b"IDAT" and data and not pixels.eof:
                unpacked += len(pixels.decompress(data, _PIECE))
                if unpacked > size + _PIECE:  # could go on for hours
                    raise ValueError("damaged: it holds more than its pixels")
                data = pixels.unconsumed_tail
            kinds.append(kind)
            start += 12 + length
        if kinds[:1] != [b"IHDR"] or kinds.count(b"IHDR") != 1:
            raise ValueError("damaged: it does not begin with its only header, IHDR")
        is_whole = pixels.eof and unpacked >= size
    except struct.error:
        raise ValueError("damaged: it is cut short") from None
    except (KeyError, zlib.error) as error:
        raise ValueError(f"damaged: {error}") from None
    if not is_whole:
        raise ValueError("damaged: pixels are missing at its end")


def _size(width: int, height: int, depth: int, color_type: int, interlaced: int) -> int:
    """Returns the unpacked bytes of an image; each row has one more byte, for its filter."""
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * _CHANNELS[color_type] * depth // 8))
    return total
