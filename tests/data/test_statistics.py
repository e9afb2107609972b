"""Counts of classes in masks, and warnings."""

import dataclasses
import json

import numpy as np
import pytest

from sassn_jax.data.statistics import LabelCounts, find_oddities

NAMES = ("sky", "road", "car", "dog")


def counts(*labels, num_classes=4, turned=0) -> LabelCounts:
    total = LabelCounts.empty(num_classes)
    for i, label in enumerate(labels):
        total = total.add(np.array([label], np.uint8), turned=i < turned)
    return total


def test_counts_by_class():
    total = counts([0, 0, 2, 255], [2, 2, 2, 3], [255, 255, 255, 255], turned=1)
    assert total == LabelCounts(
        images=3,
        pixels=(2, 0, 4, 1),
        images_with=(1, 0, 2, 1),
        ignored=5,
        unlabeled=1,
        black_and_white=0,
        turned=1,
    )
    assert total.share(total.pixels[2]) == 4 / 12
    assert LabelCounts.from_json(json.loads(json.dumps(dataclasses.asdict(total)))) == total


def test_nothing_odd():
    assert find_oddities(NAMES, {"train": counts([0, 1, 2, 3, 255]), "val": counts(range(4))}) == ()


def test_255_classes_can_be_counted():
    total = counts([0, 254, 255], num_classes=255)
    assert (sum(total.pixels), total.pixels[254], total.ignored) == (2, 1, 1)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (
            {"train": counts([1, 2, 3]), "val": counts([1, 2, 3])},
            (
                "class id 0, 'sky', occurs in no mask: is it absent, or do the ids begin at 1, so "
                "that every pixel counts as the class after its own, and is the class that occurs "
                "in no mask the last, 'dog'?",
            ),
        ),
        (
            {"train": counts([1, 2]), "val": counts([1, 2])},
            (
                "classes 0 'sky' and 3 'dog', the first and the last, occur in no mask: are they "
                "absent, or do the ids begin at 1, so that every pixel counts as the class after",
            ),
        ),
        (
            {"train": counts([2]), "val": counts([2])},
            ("classes 0 'sky' and 3 'dog', the first", "no mask holds class 1 'road'"),
        ),
        (
            {"train": counts([0, 1, 2]), "val": counts([0, 1, 2])},
            ("no mask holds class 3 'dog'",),
        ),
        (
            {"train": counts([0, 1, 2, 3]), "val": counts([0, 3]), "test": counts([0, 1, 2, 3])},
            ("no mask of val holds classes 1 'road', 2 'car', which other splits have",),
        ),
        (
            {"train": counts([0, 1, 2, 3], [255, 255]), "val": counts([0, 1, 2, 3])},
            ("1 of 2 masks of train are ignored as a whole (all 255)",),
        ),
        (
            {"train": counts([255])},
            (
                "no mask holds classes 0 'sky', 1 'road', 2 'car', 3 'dog'",
                "1 of 1 masks of train are ignored as a whole",
            ),
        ),
        (
            {
                "train": counts([0, 1, 2, 3], [0, 255, 0], [255, 255], [0, 0]),
                "val": counts(range(4)),
            },
            (
                "1 of 4 masks of train are ignored",
                "1 of 4 masks of train hold 0 and 255 alone, and 255 is read as ignored",
            ),
        ),
        (
            {"train": counts([0, 1], [2, 3], turned=2), "val": counts([0, 1, 2, 3])},
            ("2 of 2 images of train have an EXIF orientation and are taken as they are stored",),
        ),
    ],
)
def test_what_is_usually_a_mistake_is_said(splits, expected):
    found = find_oddities(NAMES, splits)
    assert len(found) == len(expected)
    for line, begin in zip(found, expected, strict=True):
        assert line.startswith(begin)
        assert "\n" not in line


def test_of_many_classes_the_first_are_named():
    (line,) = find_oddities(tuple("abcdefgh"), {"train": counts([0], num_classes=8)})
    assert line == "no mask holds classes 1 'b', 2 'c', 3 'd', 4 'e', 5 'f' and 2 more"


def test_a_name_for_no_class_is_pointed_out():
    counts = LabelCounts.empty(3).add(np.array([[0, 1, 2]]))
    (line,) = find_oddities(("sky", "Void", "road"), {"train": counts})
    assert line.startswith("class 1 'Void' is trained and scored like every other; ")
    assert "`ignore` in classes.txt" in line
    assert find_oddities(("sky", "road"), {}) == ()


def test_the_last_class_alone_is_absent_where_0_may_be_no_class():
    counts = LabelCounts.empty(3).add(np.array([[0, 1, 1]]))
    (line,) = find_oddities(("sky", "road", "car"), {"train": counts})
    assert line.startswith("no mask holds class 2 'car', the last: is it absent, or does 0 stand")
