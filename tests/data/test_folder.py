"""A user's folder of images and masks, prepared."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import records
from sassn_jax.errors import InputError
from tests.data.conftest import CLASSES, labels_of
from tests.data.sources import litter


def test_a_folder_of_ones_own(source, tmp_path):
    """It has no test images, and an image without a mask."""
    (source / "test.txt").unlink()
    (source / "unlabeled.txt").write_text("plain\n")
    (source / "images" / "plain.jpg").write_bytes((source / "images" / "val_0.jpg").read_bytes())
    data.prepare("folder", source, tmp_path / "data")
    dataset = data.load("folder", tmp_path / "data")
    assert dataset.info.class_names == CLASSES
    splits = dataset.splits
    sizes = {"train": 3, "val": 2, "unlabeled": 1}
    assert {name: len(split) for name, split in splits.items()} == sizes
    one = splits["unlabeled"][0]
    assert one["id"] == "plain"
    assert one["label"].shape == one["image"].shape[:2]
    assert (one["label"] == data.IGNORE_LABEL).all()
    with pytest.raises(InputError, match=r"holds no prepared folder; prepare it: .*dataset=folder"):
        data.load("folder", tmp_path)


def test_what_systems_leave_in_a_folder_is_passed_over(source, tmp_path):
    litter(source)
    data.prepare("folder", source, tmp_path / "data")
    assert len(data.load("folder", tmp_path / "data").splits["train"]) == 3


@pytest.mark.parametrize("what", ["classes.txt", "labels/val_0.png", "images/val_0.jpg", "val.txt"])
def test_what_has_changed_is_prepared_anew(source, tmp_path, what):
    """Noticed by size or time; before that, nothing is done again."""
    assert data.prepare("folder", source, tmp_path / "data")
    (source / "notes.txt").write_text("Nothing depends on this.")
    assert not data.prepare("folder", source, tmp_path / "data")
    before = data.load("folder", tmp_path / "data")
    if what == "classes.txt":
        (source / what).write_text("\n".join((*CLASSES[:2], "Alpaca")))
    elif what == "val.txt":
        (source / what).write_text("val_0\n")
    else:
        with Image.open(source / what) as image:
            Image.fromarray(np.zeros_like(np.asarray(image))).save(source / what)
    assert data.prepare("folder", source, tmp_path / "data")
    assert not data.prepare("folder", source, tmp_path / "data")
    after = data.load("folder", tmp_path / "data")
    assert after.fingerprint != before.fingerprint
    assert (after.info.class_names[2] == "Alpaca") == (what == "classes.txt")
    assert len(after.splits["val"]) == (1 if what == "val.txt" else 2)
    one = after.splits["val"][list(after.splits["val"].ids).index("val_0")]
    assert (one["label"] == 0).all() == (what == "labels/val_0.png")
    assert (one["image"] == 0).all() == (what == "images/val_0.jpg")


def test_a_mask_of_the_same_size_that_was_saved_later_is_noticed(source, tmp_path):
    path = source / "labels" / "val_0.png"
    with Image.open(path) as image:
        Image.fromarray(np.asarray(image)).save(path, compress_level=0)
        label = np.asarray(image).copy()
    data.prepare("folder", source, tmp_path / "data")
    size, time = path.stat().st_size, path.stat().st_mtime_ns
    label[:] = 1
    Image.fromarray(label).save(path, compress_level=0)
    os.utime(path, ns=(time, time + 1000))
    assert path.stat().st_size == size
    dataset = data.load("folder", tmp_path / "data", source)
    assert (dataset.splits["val"][1]["label"] == 1).all()
    assert dataset.splits["val"].ids[1] == "val_0"


def test_the_fingerprint_tells_other_masks_of_the_same_size(source, tmp_path):
    def fingerprint(name):
        data.prepare("folder", source, tmp_path / name)
        return data.load("folder", tmp_path / name).fingerprint

    first = fingerprint("first")
    assert first == fingerprint("again")
    path = source / "labels" / "val_0.png"
    with Image.open(path) as image:
        label = np.asarray(image).copy()
    label[0, 0] = 0 if label[0, 0] else 1
    Image.fromarray(label).save(path, compress_level=0)
    size = path.stat().st_size
    second = fingerprint("second")
    label[0, 0] = 2
    Image.fromarray(label).save(path, compress_level=0)
    assert path.stat().st_size == size
    assert len({first, second, fingerprint("third")}) == 3


def test_what_was_checked_for_other_classes_is_checked_again(source, tmp_path, monkeypatch):
    """An interrupted call has checked masks with more classes than the list has now."""
    monkeypatch.setattr("sassn_jax.data.records_builder.SHARD_LENGTH", 1)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.prepare("folder", source, tmp_path / "data", stop)
    (source / "classes.txt").write_text("\n".join(CLASSES[:2]))
    with pytest.raises(InputError, match="class id 2; expected 0 to 1"):
        data.prepare("folder", source, tmp_path / "data")


@pytest.mark.parametrize("name", ["data [v2]", "sp ace's", "größe 🐈", "sta*r?", "back\\slash"])
def test_it_may_be_prepared_in_a_folder_of_any_name(source, tmp_path, name):
    first = labels_of(source, tmp_path / "plain")
    for a, b in zip(first, labels_of(source, tmp_path / name), strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_folders_stand_in_one_data_dir(source, tmp_path):
    other = tmp_path / "other [2]"
    shutil.copytree(source, other)
    (other / "classes.txt").write_text("a\nb\nc\n")
    for path in (source, other):
        data.prepare("folder", path, tmp_path / "data")
    assert data.load("folder", tmp_path / "data", source).info.class_names == CLASSES
    assert data.load("folder", tmp_path / "data", other).info.class_names == ("a", "b", "c")
    shutil.rmtree(other)
    for place in (tmp_path / "data", tmp_path / "data" / "other [2]"):
        named = other if place.name == "data" else ""
        assert data.load("folder", place, named).info.class_names == ("a", "b", "c")
    with pytest.raises(InputError, match=r"holds several folders; expected .*other .2., .*source"):
        data.load("folder", tmp_path / "data")


def test_all_files_that_cannot_be_read_are_named_at_once(source, tmp_path):
    (source / "images" / "train_1.jpg").write_bytes(b"")
    (source / "labels" / "val_0.png").write_bytes(b"no mask")
    with pytest.raises(InputError, match="the first of 2 problems, which stand above") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert [detail.partition(":")[0] for detail in error.value.details] == [
        str(source / "images" / "train_1.jpg"),
        str(source / "labels" / "val_0.png"),
    ]


def without_lists(source):
    for split in ("train", "val", "test"):
        (source / f"{split}.txt").unlink()


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_damaged_files_are_left_out_and_named(source, tmp_path, kind):
    """An image whose mask is damaged is left out too, until one of the two is mended."""
    without_lists(source)
    suffix = ".jpg" if kind == "images" else ".png"
    broken = source / kind / f"train_1{suffix}"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    (source / "images" / "plain.jpg").write_bytes(b"")  # without a mask
    (source / "images" / "other.jpg").write_bytes((source / "images" / "val_0.jpg").read_bytes())
    data.prepare("folder", source, tmp_path / "data")
    assert not data.prepare("folder", source, tmp_path / "data")
    dataset = data.load("folder", tmp_path / "data")
    ids = {id_ for split in dataset.splits.values() for id_ in split.ids}
    assert ids == {"train_0", "train_2", "val_0", "val_1", "test_0", "other"}
    assert dataset.splits["unlabeled"].ids == ("other",)
    notes = records.read_description("folder", tmp_path / "data" / "source").notes
    left_out = [note for note in notes if note.startswith("left out, ")]
    assert [str(broken) in left_out[0], "plain.jpg" in left_out[1]] == [True, True]
    broken.write_bytes(whole)
    assert data.prepare("folder", source, tmp_path / "data")
    assert len(data.load("folder", tmp_path / "data").splits["train"]) == 5


def test_many_damaged_files_are_counted(source, tmp_path):
    without_lists(source)
    for i in range(12):
        (source / "images" / f"plain_{i}.jpg").write_bytes(b"")
    data.prepare("folder", source, tmp_path / "data")
    note = records.read_description("folder", tmp_path / "data" / "source").notes[0]
    assert note.endswith("(the file is empty) (12 such: plain_0, plain_1, plain_10, ...)")


def test_a_damaged_file_that_a_list_names_is_refused(source, tmp_path):
    (source / "images" / "val_0.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"val_0.jpg: .*'val_0' is in val.txt: mend the file, or"):
        data.prepare("folder", source, tmp_path / "data")


def test_a_folder_without_a_mask_that_can_be_read_is_refused(source, tmp_path):
    without_lists(source)
    masks = sorted((source / "labels").iterdir())
    for path in masks[1:]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="a single training image has a mask") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert "(5 such: " in error.value.details[0]
    masks[0].write_bytes(b"")
    with pytest.raises(InputError, match="the file is empty") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert "(6 such: " in str(error.value)


def test_what_contradicts_is_refused_also_beside_damaged_files(source, tmp_path):
    without_lists(source)
    (source / "images" / "val_0.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(source / "labels" / "val_1.png")
    with pytest.raises(InputError, match="the first of 2 problems") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert any("val_1.png: 4x3 pixels, but its image has" in line for line in error.value.details)


def test_without_classes_a_folder_of_damaged_masks_names_them(source, tmp_path):
    without_lists(source)
    (source / "classes.txt").unlink()
    for path in (source / "labels").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"labels/test_0.png: .*the file is empty.* \(6 such: "):
        data.prepare("folder", source, tmp_path / "data")
