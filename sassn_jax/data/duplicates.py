"""Images of two splits that look the same, found by a perceptual hash of 64 bits."""

import importlib.util
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8, UInt64
from PIL import Image

# Bits of 64 in which the hashes of two images that look the same may differ. Copies at three
# quarters of the size, as JPEG of quality 40, differ in at most 4 bits from their originals (60
# scenes, 60 images of CamVid). The images of two splits differ in at least 12 bits (scenes) and 10
# bits (CamVid, whose splits are of different videos).
NEAR = 6
_BLOCK = 256  # images of one split that are compared with all of another at once, to save memory


class NearDuplicate(NamedTuple):
    """An image that looks like one of an earlier split.

    Attributes:
      split: of the image.
      id: of the image.
      other_split: the earlier split.
      other_id: its most similar image.
      distance: bits of 64 in which the hashes of the two differ, from 0 to `NEAR`.
    """

    split: str
    id: str
    other_split: str
    other_id: str
    distance: int


def is_available() -> bool:
    """Returns whether the package imagehash, which makes the hashes, is installed."""
    return importlib.util.find_spec("imagehash") is not None


def perceptual_hash(image: UInt8[np.ndarray, "H W 3"]) -> np.uint64 | None:
    """Returns a hash of 64 bits, of which few change if the image is scaled or compressed.

    It is imagehash's `phash`, made of the lowest frequencies of the grey image.

    Args:
      image: RGB, 0-255.

    Returns:
      The hash; None if all pixels are of one colour, since the hash would be noise.
    """
    import imagehash  # an extra

    if (image == image[0, 0]).all():
        return None
    return np.packbits(imagehash.phash(Image.fromarray(image)).hash).view(np.uint64)[0]


def find_near_duplicates(
    hashes: Mapping[str, Mapping[str, np.uint64]],
) -> tuple[NearDuplicate, ...]:
    """Returns each image whose hash is within `NEAR` bits of one of an earlier split.

    Args:
      hashes: of the images of each split, by id.

    Returns:
      For each pair of splits, the images of the later one in their order, each with its most
      similar image of the earlier one.
    """
    found = []
    for (other_split, others), (split, these) in itertools.combinations(hashes.items(), 2):
        if not others or not these:
            continue
        ids, other_ids = list(these), list(others)
        nearest, distances = _nearest(_array(these), _array(others))
        for i in np.flatnonzero(distances <= NEAR):
            pair = split, ids[i], other_split, other_ids[nearest[i]]
            found.append(NearDuplicate(*pair, int(distances[i])))
    return tuple(found)


def _array(hashes: Mapping[str, np.uint64]) -> UInt64[np.ndarray, " N"]:
    return np.array(list(hashes.values()), np.uint64)


def _nearest(
    hashes: UInt64[np.ndarray, " N"], others: UInt64[np.ndarray, " M"]
) -> tuple[Integer[np.ndarray, " N"], Integer[np.ndarray, " N"]]:
    """Returns the position of the nearest of `others` to each hash, and their distance in bits."""
    nearest, distances = [], []
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK, None]
        bits = np.bitwise_count(block ^ others[None])  # [block, M]
        nearest.append(bits.argmin(1))
        distances.append(bits.min(1))
    return np.concatenate(nearest), np.concatenate(distances)
