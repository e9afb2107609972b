import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import camvid, records
from sassn_jax.errors import InputError
from tests.data.conftest import CLASSES


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_was_prepared_is_what_was_there(source, tmp_path, capfd):
    steps = []
    wrote = data.prepare(
        "camvid", source, tmp_path / "deep" / "data", lambda *step: steps.append(step)
    )
    assert wrote
    assert steps == [(i, 6) for i in range(1, 7)]
    dataset = data.load("camvid", tmp_path / "deep" / "data")
    assert dataset.info.class_names == CLASSES
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    for name, split in dataset.splits.items():
        assert list(split.ids) == (source / f"{name}.txt").read_text().split()
        for i, id_ in enumerate(split.ids):
            one = split[i]
            assert one["id"] == id_
            image = np.asarray(Image.open(source / "images" / f"{id_}.jpg"))
            label = np.asarray(Image.open(source / "labels" / f"{id_}.png"))
            np.testing.assert_array_equal(one["image"], image)
            np.testing.assert_array_equal(one["label"], label)
    assert os.listdir(tmp_path / "deep" / "data") == ["camvid"]
    assert capfd.readouterr() == ("", "")


def test_an_image_in_two_lists_is_refused(source, tmp_path):
    with (source / "train.txt").open("a") as file:
        file.write("test_0\n")
    with pytest.raises(InputError, match=r"train\.txt: 'test_0' is in test\.txt too; expected"):
        data.prepare("camvid", source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_preparing_again_changes_nothing(source, tmp_path):
    data.prepare("camvid", source, tmp_path / "data")
    before = {
        path: (tmp_path / "data" / path).stat().st_mtime_ns for path in files(tmp_path / "data")
    }
    assert not data.prepare("camvid", source, tmp_path / "data")
    after = {
        path: (tmp_path / "data" / path).stat().st_mtime_ns for path in files(tmp_path / "data")
    }
    assert before == after


def test_a_source_with_other_images_is_refused(source, tmp_path):
    data.prepare("camvid", source, tmp_path / "data")
    ids = (source / "train.txt").read_text().split()
    (source / "train.txt").write_text("\n".join(ids[1:]) + "\n")
    with pytest.raises(InputError, match="holds camvid from a source with other classes"):
        data.prepare("camvid", source, tmp_path / "data")


def test_a_source_reads_the_same_after_pickling(source, tmp_path):
    data.prepare("camvid", source, tmp_path / "data")
    split = data.load("camvid", tmp_path / "data").splits["train"]
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copy[2]["label"], split[2]["label"])
    with pytest.raises(IndexError):
        split[3]


def test_known_classes_have_camvids_colours_and_others_their_own(source, tmp_path):
    data.prepare("camvid", source, tmp_path / "data")
    palette = data.load("camvid", tmp_path / "data").info.palette
    assert palette[:2].tolist() == [[128, 128, 128], [128, 64, 128]]
    assert len(np.unique(palette, axis=0)) == 3


def missing_mask(root):
    (root / "labels" / "val_1.png").unlink()
    return "labels/val_1.png"


def missing_image(root):
    (root / "images" / "val_1.jpg").unlink()
    return "images/val_1.jpg"


def missing_list(root):
    (root / "test.txt").unlink()
    return "test.txt"


def missing_classes(root):
    (root / "classes.txt").unlink()
    return "classes.txt"


def empty_list(root):
    (root / "train.txt").write_text("\n")
    return "train.txt"


def binary_list(root):
    (root / "train.txt").write_bytes(b"\xff\xfe\x00\x00")
    return "train.txt"


def repeated_id(root):
    (root / "train.txt").write_text("train_0\ntrain_0\n")
    return "train.txt"


def other_size(root):
    Image.fromarray(np.zeros((31, 20), np.uint8)).save(root / "labels" / "train_1.png")
    return "labels/train_1.png"


def truncated_image(root):
    path = root / "images" / "train_1.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return "images/train_1.jpg"


def truncated_mask(root):
    path = root / "labels" / "train_1.png"
    path.write_bytes(path.read_bytes()[:100])
    return "labels/train_1.png"


def text_as_image(root):
    (root / "images" / "train_1.jpg").write_text("not an image\n")
    return "images/train_1.jpg"


def empty_image(root):
    (root / "images" / "train_1.jpg").write_bytes(b"")
    return "images/train_1.jpg"


def unknown_class(root):
    label = np.full((20, 31), 3, np.uint8)
    Image.fromarray(label).save(root / "labels" / "test_0.png")
    return "labels/test_0.png"


def coloured_mask(root):
    colors = np.zeros((20, 31, 3), np.uint8)
    colors[:9] = 128, 0, 0
    Image.fromarray(colors).save(root / "labels" / "test_0.png")
    return "labels/test_0.png"


@pytest.mark.parametrize(
    "damage",
    [
        missing_mask,
        missing_image,
        missing_list,
        missing_classes,
        empty_list,
        binary_list,
        repeated_id,
        other_size,
        truncated_image,
        truncated_mask,
        text_as_image,
        empty_image,
        unknown_class,
        coloured_mask,
    ],
)
def test_a_bad_source_is_named_in_one_line_and_nothing_is_written(source, tmp_path, damage):
    name = damage(source)
    with pytest.raises(InputError) as error:
        data.prepare("camvid", source, tmp_path / "data")
    assert str(error.value).startswith(str(source / name))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(InputError, match="gone: no such folder"):
        data.prepare("camvid", tmp_path / "gone", tmp_path / "data")


def test_a_write_that_fails_leaves_nothing_that_can_be_read(source, tmp_path, monkeypatch):
    from array_record.python import array_record_module

    class FullDisk(array_record_module.ArrayRecordWriter):
        def close(self):
            super().close()
            raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(array_record_module, "ArrayRecordWriter", FullDisk)
    with pytest.raises(OSError, match="No space left on device"):
        data.prepare("camvid", source, tmp_path / "data")
    assert files(tmp_path / "data") == []
    monkeypatch.undo()
    assert data.prepare("camvid", source, tmp_path / "data")


def test_a_data_dir_that_cannot_be_made_is_an_os_error(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        data.prepare("camvid", source, tmp_path / "file")


@pytest.mark.parametrize("data_dir", [None, "", "nowhere"])
def test_loading_what_was_not_prepared_says_how_to(data_dir):
    with pytest.raises(InputError) as error:
        data.load("camvid", data_dir)
    assert "sassn prepare --dataset=camvid" in str(error.value)
    assert "\n" not in str(error.value)


SHARED = Path(__file__).parents[3] / "shared" / "data" / "camvid"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/camvid, which is not here")
def test_the_real_camvid(tmp_path):
    data.prepare("camvid", SHARED, tmp_path)
    dataset = data.load("camvid", tmp_path)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    assert dataset.info.palette.tolist() == [list(color) for color in camvid.COLORS.values()]
    # Counts of the same masks by another program.
    theirs = json.loads((SHARED / "stats.json").read_text())
    for split, ours in records.read_description("camvid", tmp_path).counts.items():
        pixels = [ours.share(x) for x in (*ours.pixels, ours.ignored)]
        expected = theirs[split]["pixel_fraction"]
        np.testing.assert_allclose(pixels, list(expected.values()), atol=6e-6)
        images = [theirs[split]["images_with_class"][name] for name in camvid.COLORS]
        assert (ours.images, list(ours.images_with)) == (theirs[split]["n"], images)
    train = dataset.splits["train"]
    split = data.choose_labeled(train.ids, str(SHARED / "labeled_1_8.txt"), seed=0)
    assert (len(split.labeled), len(split.unlabeled)) == (45, 322)
