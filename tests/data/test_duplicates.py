"""Images of two splits that look the same."""

import io

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data import duplicates, scenes
from sassn_jax.data.duplicates import NEAR, NearDuplicate, find_near_duplicates, perceptual_hash

needs_imagehash = pytest.mark.skipif(
    not duplicates.is_available(), reason="pip install 'sassn_jax[inspect]' runs these tests"
)


def bits(a, b):
    return bin(int(a) ^ int(b)).count("1")


def smaller_jpeg(image):
    file = io.BytesIO()
    picture = Image.fromarray(image)
    picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


@needs_imagehash
def test_copies_are_near_and_other_images_are_not():
    images = [scenes.render("train", i, "gate_open")[0] for i in range(20)]
    hashes = [perceptual_hash(image) for image in images]
    copies = [perceptual_hash(smaller_jpeg(image)) for image in images]
    for i, hash_ in enumerate(hashes):
        assert [j for j, copy in enumerate(copies) if bits(hash_, copy) <= NEAR] == [i]


@needs_imagehash
def test_an_image_of_one_colour_has_no_hash():
    assert perceptual_hash(np.full((9, 8, 3), (1, 2, 3), np.uint8)) is None
    assert perceptual_hash(np.eye(9, dtype=np.uint8)[..., None].repeat(3, -1)) is not None


def test_each_image_is_reported_with_its_nearest_of_each_earlier_split(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 7)  # several blocks, the last not full
    rng = np.random.default_rng(0)
    sizes = {"train": 40, "val": 30, "unlabeled": 20, "empty": 0}
    numbers = {name: rng.integers(0, 2**64, n, np.uint64) for name, n in sizes.items()}
    numbers["val"][3] = numbers["train"][5] ^ np.uint64(0b111111)
    numbers["val"][29] = numbers["train"][9] ^ np.uint64(0b1111111)  # one bit too many
    numbers["train"][8] = numbers["train"][5] ^ np.uint64(0b11)  # nearer to val's 3
    numbers["unlabeled"][19] = numbers["val"][0]
    numbers["val"][1] = numbers["val"][0]  # of the same split; no nearer to any other
    hashes = {
        name: {f"{name} {i}": x for i, x in enumerate(of_split)}
        for name, of_split in numbers.items()
    }
    assert find_near_duplicates(hashes) == (
        NearDuplicate("val", "val 3", "train", "train 8", 4),
        NearDuplicate("unlabeled", "unlabeled 19", "val", "val 0", 0),
    )
    for _, id_, _, other_id, distance in find_near_duplicates(hashes):
        a, b = (hashes[x.split()[0]][x] for x in (id_, other_id))
        assert bits(a, b) == distance
