import pickle
import time

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.data import scenes

OPEN, CLOSED = (scenes.CLASS_NAMES.index(name) for name in scenes.LOOK_ALIKE)
SIGNAL = scenes.CLASS_NAMES.index("signal")


@pytest.fixture(scope="module")
def splits():
    return data.load("scenes").splits


@pytest.fixture(scope="module")
def examples(splits):
    """Returns the first scenes of every split."""
    return [source[i] for source in splits.values() for i in range(64)]


def saturated(image):
    """Returns where colours are saturated, and where they are red rather than blue."""
    red, blue = image[..., 0].astype(int), image[..., 2].astype(int)
    return np.abs(red - blue) > 130, red > blue


def test_the_splits_have_their_sizes_and_shapes(splits):
    assert {name: len(source) for name, source in splits.items()} == {
        "train": 512,
        "val": 128,
        "test": 256,
    }
    for source in splits.values():
        assert len(set(source.ids)) == len(source)
        one = source[len(source) - 1]
        assert one["image"].shape == (96, 96, 3)
        assert one["label"].shape == (96, 96)
        assert one["image"].dtype == one["label"].dtype == np.uint8
        assert one["id"] == source.ids[-1]
        with pytest.raises(IndexError):
            source[len(source)]


def test_the_palette_has_a_colour_of_its_own_for_each_class():
    info = data.load("scenes").info
    assert info.palette.shape == (info.num_classes, 3)
    assert len(np.unique(info.palette, axis=0)) == info.num_classes


def test_no_two_scenes_are_the_same(examples):
    assert len({one["image"].tobytes() for one in examples}) == len(examples)


def test_a_scene_is_the_same_each_time_and_in_a_copy(splits):
    source = pickle.loads(pickle.dumps(splits["val"]))
    scenes._cached.cache_clear()
    again = source[5]
    scenes._cached.cache_clear()
    np.testing.assert_array_equal(splits["val"][5]["image"], again["image"])
    np.testing.assert_array_equal(splits["val"][5]["label"], again["label"])


def test_every_class_occurs_and_no_pixel_is_ignored(examples):
    share = (
        np.mean(
            [
                np.bincount(one["label"].ravel(), minlength=len(scenes.CLASS_NAMES))
                for one in examples
            ],
            axis=0,
        )
        / 96**2
    )
    assert len(share) == len(scenes.CLASS_NAMES)
    assert share.min() > 0.01


def test_a_scene_has_one_kind_of_gate_and_half_of_them_have_each(examples):
    kinds = [set(np.unique(one["label"])) & {OPEN, CLOSED} for one in examples]
    assert all(len(kind) == 1 for kind in kinds)
    assert sum(kind == {OPEN} for kind in kinds) == len(kinds) / 2


def test_who_sees_the_whole_image_makes_no_error(examples):
    for one in examples:
        strong, red = saturated(one["image"])
        assert strong.sum() > 50
        assert (CLOSED if red[strong].mean() > 0.5 else OPEN) in one["label"]


def test_a_strong_colour_occurs_on_signals_only(examples):
    for one in examples:
        strong, _ = saturated(one["image"])
        assert (one["label"][strong] == SIGNAL).all()


def test_the_cue_alone_decides_and_changes_no_other_pixel():
    for index in range(32):
        (image, label), (other, swapped) = (
            scenes.render("train", index, kind) for kind in scenes.LOOK_ALIKE
        )
        outside = label != SIGNAL
        np.testing.assert_array_equal(image[outside], other[outside])
        gates = label == OPEN
        assert gates.any()
        np.testing.assert_array_equal(swapped == CLOSED, gates)
        np.testing.assert_array_equal(swapped[~gates], label[~gates])
        assert (image[~outside] != other[~outside]).any()


def test_every_gate_is_far_from_the_signal(examples):
    for one in examples:
        center = np.argwhere(one["label"] == SIGNAL).mean(0)
        gates = np.argwhere((one["label"] == OPEN) | (one["label"] == CLOSED))
        # The mean of whole pixels may be half a pixel from the centre.
        assert np.hypot(*(gates - center).T).min() >= scenes.CUE_DISTANCE - 0.5


def test_signals_are_all_over_the_place(examples):
    centers = np.array([np.argwhere(one["label"] == SIGNAL).mean(0) for one in examples])
    assert centers.min() < 15
    assert centers.max() > 80
    kinds = np.array([OPEN in one["label"] for one in examples])
    # The place of the signal does not tell its colour: the mean places differ by a few pixels.
    assert np.abs(centers[kinds].mean(0) - centers[~kinds].mean(0)).max() < 12


def test_a_scene_takes_milliseconds():
    start = time.perf_counter()
    for index in range(20):
        scenes.render("val", index, scenes.LOOK_ALIKE[0])
    assert (time.perf_counter() - start) / 20 < 0.05
