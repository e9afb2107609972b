"""Damage to prepared datasets, such as a failing disk does it."""

from pathlib import Path

PIECE = 16  # bytes


def flip_bit(folder: Path, content: bytes) -> None:
    """Flips one bit of an image or a mask in the ArrayRecord files below a folder.

    Args:
      folder: of the prepared dataset.
      content: of the file of the image, of whose bytes `PIECE` must be stored as they are.
    """
    for path in sorted(folder.rglob("*array_record*")):
        stored = bytearray(path.read_bytes())
        for start in range(len(content) // 2, len(content) - PIECE):
            if (place := stored.find(content[start : start + PIECE])) >= 0:
                stored[place + PIECE // 2] ^= 1
                path.write_bytes(stored)
                return
    raise ValueError("no file holds this content")
