"""The numbers of a dataset, against NumPy on all its pixels at once."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from sassn_jax.data import Dataset, DatasetInfo, choose_labeled
from sassn_jax.data.duplicates import is_available
from sassn_jax.data.inspection import (
    LABELED_PART,
    UNLABELED_PART,
    Named,
    inspect,
    large_image_note,
)
from sassn_jax.data.statistics import find_oddities
from sassn_jax.errors import InputError

NAMES = ("sky", "road", "car", "dog")
PALETTE = np.array([[0, 0, 255], [90, 90, 90], [200, 0, 0], [120, 80, 0]], np.uint8)


@dataclass(frozen=True)
class Source:
    """Images and masks by id; an error in place of a mask is raised."""

    examples: dict

    @property
    def ids(self):
        return tuple(self.examples)

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        id_ = self.ids[index]
        image, label = self.examples[id_]
        if isinstance(label, Exception):
            raise label
        example = {"image": image, "id": id_}
        return example if label is None else {**example, "label": label}


def noise(seed, height=20, width=30, ids=(0, 1, 2, 255)):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return image, None if ids is None else rng.choice(np.array(ids, np.uint8), (height, width))


def dataset(**splits):
    sources = {name: Source(examples) for name, examples in splits.items()}
    return Dataset(DatasetInfo("folder", NAMES, PALETTE), sources)


@pytest.fixture
def tiny():
    return dataset(
        train={f"t{i}": noise(i, 20 + i, 31 - i) for i in range(6)},
        val={"v0": noise(10, ids=(0, 3)), "v1": noise(11, 40, 50, ids=(1, 255))},
        unlabeled={"u0": noise(20, 5, 400, ids=None), "u1": noise(21)},
    )


def test_numbers_are_those_of_all_pixels(tiny):
    labeled = choose_labeled(tiny.splits["train"].ids, "1/2", seed=0).labeled
    described = inspect(tiny, labeled, duplicates=False).describe()["splits"]
    assert list(described) == ["train", LABELED_PART, UNLABELED_PART, "val", "unlabeled"]
    parts = {
        "train": tiny.splits["train"].ids,
        LABELED_PART: labeled,
        "val": tiny.splits["val"].ids,
    }
    for part, ids in parts.items():
        examples = [tiny.splits[part.split()[0]].examples[id_] for id_ in ids]
        pixels = np.concatenate([label.ravel() for _, label in examples])
        numbers = described[part]
        assert numbers["images"] == len(ids)
        for name, axis in (("height", 0), ("width", 1)):
            lengths = [image.shape[axis] for image, _ in examples]
            assert list(numbers[name].values()) == [min(lengths), np.median(lengths), max(lengths)]
        assert numbers["ignored"]["share"] == pytest.approx(np.mean(pixels == 255))
        for i, row in enumerate(numbers["classes"]):
            assert row["name"] == NAMES[i]
            assert row["share"] == pytest.approx(np.mean(pixels == i))
            assert row["pixels"] == np.sum(pixels == i)
            assert row["images"] == sum((label == i).any() for _, label in examples)
        present = {NAMES[i] for i in np.unique(pixels) if i != 255}
        assert set(numbers["absent"]) == set(NAMES) - present
    assert described[UNLABELED_PART]["images"] == 3
    for part in (UNLABELED_PART, "unlabeled"):  # no masks, or none that a run uses
        assert set(described[part]) == {"images", "width", "height"}
    assert described["unlabeled"]["width"] == {"smallest": 30, "median": 215, "largest": 400}


def test_all_masks_used_is_one_part(tiny):
    found = inspect(tiny, tiny.splits["train"].ids, duplicates=False)
    assert list(found.parts) == ["train", "val", "unlabeled"]
    assert found.oddities == find_oddities(NAMES, found.counts)
    assert any("no mask of train holds class 3 'dog'" in line for line in found.oddities)


def test_masks_that_look_wrong_are_named():
    masks = {
        "ignored": [[255, 255]],
        "road": [[1, 1]],
        "road_else_ignored": [[1, 255]],
        "two": [[1, 2]],
    }
    images = {
        name: (np.zeros((1, 2, 3), np.uint8), np.array(x, np.uint8)) for name, x in masks.items()
    }
    found = inspect(dataset(train=images, val=images), tuple(images), duplicates=False)
    assert found.odd_masks[:3] == (
        Named("train", "ignored", "every pixel is ignored"),
        Named("train", "road", "every pixel is of class 1 'road'"),
        Named("train", "road_else_ignored", "every pixel that is not ignored is of class 1 'road'"),
    )
    assert [x.split for x in found.odd_masks] == ["train"] * 3 + ["val"] * 3


def test_what_cannot_be_read_is_named_and_the_rest_is_counted(tiny):
    train = dict(tiny.splits["train"].examples)
    image, label = train["t1"]
    train["t0"] = (image, InputError("t0.jpg: damaged"))
    train["t2"] = (image, OSError("no such device"))
    train["t3"] = (image, label[:-1])
    train["t4"] = (image, np.full_like(label, 7))
    found = inspect(dataset(train=train, val={"v": noise(9)}), tuple(train), duplicates=False)
    texts = {x.id: x.text for x in found.unreadable}
    assert found.parts["train"].ids == ["t1", "t5"]
    assert list(texts) == ["t0", "t2", "t3", "t4"]
    assert texts["t0"] == "t0.jpg: damaged"
    assert "30x20 pixels, the image 30x21" in texts["t3"]
    assert "class id 7; expected 0 to 3 or 255" in texts["t4"]
    assert found.counts["train"].images == 2


def test_a_split_of_which_nothing_can_be_read():
    broken = {"t": (np.zeros((1, 1, 3), np.uint8), InputError("damaged"))}
    found = inspect(dataset(train=broken, val={"v": noise(9)}), ("t",), duplicates=False)
    assert found.describe()["splits"]["train"] == {"images": 0, "width": None, "height": None}
    assert list(found.counts) == ["val"]


@pytest.mark.skipif(not is_available(), reason="pip install 'sassn_jax[inspect]' runs this test")
def test_a_copy_in_another_split_is_found_and_json_holds_everything(tiny):
    val = {**tiny.splits["val"].examples, "copy": tiny.splits["train"].examples["t4"]}
    copied = dataset(train=tiny.splits["train"].examples, val=val)
    done = []
    found = inspect(copied, ("t0",), progress=lambda *numbers: done.append(numbers))
    assert [tuple(x) for x in found.near_duplicates] == [("val", "copy", "train", "t4", 0)]
    assert done == [(i + 1, 9) for i in range(9)]
    read = json.loads(json.dumps(found.describe()))
    assert read == found.describe()
    assert read["near_duplicates"][0]["other_id"] == "t4"
    assert inspect(tiny, ("t0",)).near_duplicates == ()
    assert inspect(tiny, ("t0",), duplicates=False).describe()["near_duplicates"] is None


def test_a_crop_that_is_a_small_part_of_an_image_is_pointed_out():
    (line,) = large_image_note((22, 44), (125, 124), "the first")
    assert line.startswith("a crop of 44x22 pixels is a small part of the first, which has 124x125")
    assert large_image_note((22, 44), (121, 128), "the first") == ()
