"""A dataset that is read from its files, without being prepared."""

import numpy as np
import pytest

from sassn_jax.data import folder, records
from sassn_jax.data.dataset import Source
from sassn_jax.data.layout_source import read_unprepared
from sassn_jax.errors import InputError

COLORS = {"Road": (1, 2, 3)}


def test_it_is_the_dataset_that_prepare_makes(source, tmp_path):
    layout = folder.read_layout(source)
    records.prepare("folder", layout, tmp_path / "data")
    prepared = records.load("folder", tmp_path / "data", COLORS)
    read = read_unprepared("folder", layout, COLORS)
    assert read.info.class_names == prepared.info.class_names
    assert (read.info.palette == prepared.info.palette).all()
    assert list(read.splits) == list(prepared.splits)
    for split, images in read.splits.items():
        assert isinstance(images, Source)
        assert tuple(images.ids) == tuple(prepared.splits[split].ids)
        for ours, theirs in zip(images, prepared.splits[split], strict=True):
            assert ours["id"] == theirs["id"]
            assert np.array_equal(ours["image"], theirs["image"])
            assert np.array_equal(ours["label"], theirs["label"])


def test_a_broken_file_is_named_when_it_is_read(source):
    path = source / "images" / "train_1.jpg"
    path.write_bytes(path.read_bytes()[:100])
    train = read_unprepared("folder", folder.read_layout(source), {}).splits["train"]
    assert train.ids[1] == "train_1"
    assert train[0]["id"] == "train_2"
    with pytest.raises(InputError, match=str(path)):
        train[1]
