"""The segmentations of COCO's annotations: checked, since pycocotools trusts them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sassn_jax.data.shapes import check_points


def run_lengths(segmentation: Any, size: tuple[int, int]) -> Any:
    """Returns a segmentation as pycocotools takes it.

    Args:
      segmentation: polygons, or RLE of either kind.
      size: height and width of the image.

    Raises:
      ValueError, TypeError, KeyError: if it is none of them, or would take much time or memory.
    """
    from pycocotools import mask as coco

    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != size:
            raise ValueError(
                f"RLE of size {segmentation['size']!r:.100} in an image of {list(size)}"
            )
        counts = segmentation["counts"]
        if isinstance(counts, str | bytes):
            counts = _unpacked(counts)
        if any(type(x) is not int or x < 0 for x in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError("the counts of its RLE are not those of all pixels")
        return coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    if not segmentation:
        raise ValueError("it has a box but no segmentation; draw a polygon")
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon has not three points or more, of x and y")
        check_points(np.array(polygon, np.float64).reshape(-1, 2))
    return coco.merge(coco.frPyObjects(segmentation, *size))


def _unpacked(counts: str | bytes) -> list[int]:
    """Returns the run lengths that a text of compressed RLE holds, as COCO's `rleFrString` does.

    That function writes outside of its memory if the last number is cut short. A character has 5
    bits of a number above 48, the lowest first, and a sixth bit if the number goes on. From the
    fourth on, numbers are differences to the one two places before.
    """
    found: list[int] = []
    value = bits = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        digit = character - 48
        if not 0 <= digit < 64 or bits > 60:
            raise ValueError("its RLE is damaged")
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:
            value -= (digit >> 4 & 1) << bits  # the sign
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("its RLE is cut short")
    return found
