"""A user's own images."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import folder, records
from sassn_jax.errors import InputError
from tests.data.conftest import CLASSES
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


def test_images_may_be_png(source, tmp_path):
    path = source / "images" / "val_0.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    path.unlink()
    data.prepare("folder", source, tmp_path / "data")
    val = data.load("folder", tmp_path / "data").splits["val"]
    np.testing.assert_array_equal(val[list(val.ids).index("val_0")]["image"], pixels)


def test_all_files_that_are_missing_are_told_of_at_once_with_the_list(source, tmp_path):
    for id_ in ("train_0", "train_2"):
        (source / "images" / f"{id_}.jpg").unlink()
    with pytest.raises(InputError) as error:
        data.prepare("folder", source, tmp_path / "data")
    assert (
        "labels/train_0.png: no image in images/ has this name (2 such: "
        in (error.value.details[1])
    )
    assert str(error.value) == (
        f"{source / 'images' / 'train_0.jpg'}: no such file, nor with another ending, but "
        "'train_0' is in train.txt (2 such: train_0, train_2) (the first of 2 problems, which "
        "stand above)"
    )


def paint(source, values):
    """Repeats the values over each mask, and writes a list of two classes."""
    (source / "classes.txt").write_text("background\nthing\n")
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            width, height = image.size
        label = np.resize(np.array(values, np.uint8), (height, width))
        Image.fromarray(label).save(path)


def labels_of(source, data_dir):
    data.prepare("folder", source, data_dir)
    dataset = data.load("folder", data_dir)
    return [split[i]["label"] for split in dataset.splits.values() for i in range(len(split))]


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


def test_masks_of_0_and_255_are_of_two_classes(source, tmp_path):
    """Such masks are common. If 255 were ignored, one class would be left to predict."""
    paint(source, [0, 255, 255])
    labels = labels_of(source, tmp_path / "data")
    assert len(labels) == 6
    for label in labels:
        np.testing.assert_array_equal(label, np.resize(np.array([0, 1, 1]), label.shape))


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 1], [0, 0], [255, 255], [1, 255]])
def test_255_is_ignored_where_it_is_not_the_one_other_value(source, tmp_path, values):
    paint(source, values)
    for label in labels_of(source, tmp_path / "data"):
        np.testing.assert_array_equal(label, np.resize(np.array(values), label.shape))


def test_255_is_ignored_in_masks_with_a_palette(source, tmp_path):
    """As in those that a network of two classes proposed, and was sure of no second class."""
    paint(source, [0, 255])
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            label = np.asarray(image)
        mask = Image.fromarray(label)
        mask.putpalette([9, 8, 7] * 256)
        mask.save(path)
    for label in labels_of(source, tmp_path / "data"):
        np.testing.assert_array_equal(label, np.resize(np.array([0, 255]), label.shape))


def test_255_is_ignored_in_all_masks_where_one_has_a_1(source, tmp_path):
    paint(source, [0, 255])
    with Image.open(source / "labels" / "test_0.png") as image:
        label = np.asarray(image).copy()
    label[3, 4] = 1
    Image.fromarray(label).save(source / "labels" / "test_0.png")
    assert {int(x) for label in labels_of(source, tmp_path / "data") for x in np.unique(label)} == {
        0,
        1,
        255,
    }
    counts = records.read_description("folder", tmp_path / "data" / "source").counts
    assert [of_split.black_and_white for of_split in counts.values()] == [3, 2, 0]


@pytest.mark.parametrize("names", ["thing", "background\nbox\nball"])
def test_masks_of_0_and_255_with_other_than_two_classes_are_refused(source, tmp_path, names):
    paint(source, [0, 255])
    (source / "classes.txt").write_text(names)
    with pytest.raises(
        InputError, match=r"labels: all masks hold 0 and 255 alone, but classes.txt"
    ):
        data.prepare("folder", source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_jpeg_is_no_mask(source, tmp_path):
    path = source / "labels" / "train_0.png"
    path.rename(path.with_suffix(".jpg"))
    with pytest.raises(
        InputError, match=r"train_0.jpg: is no mask; JPEG changes class ids, so export"
    ):
        data.prepare("folder", source, tmp_path / "data")


def test_a_photo_that_is_stored_turned_is_prepared_as_it_is_shown(source, tmp_path):
    """Its mask may have been drawn on what is shown, or on the stored pixels."""
    image_path, label_path = source / "images" / "val_0.jpg", source / "labels" / "val_0.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    with Image.open(image_path) as image:
        image.save(image_path, exif=exif)
    with Image.open(image_path) as image, Image.open(label_path) as label:
        shown = [np.rot90(np.asarray(stored), -1) for stored in (image, label)]
    for name in ("stored", "shown"):
        data.prepare("folder", source, tmp_path / name)
        val = data.load("folder", tmp_path / name).splits["val"]
        example = val[list(val.ids).index("val_0")]
        np.testing.assert_array_equal(example["image"], shown[0])
        np.testing.assert_array_equal(example["label"], shown[1])
        Image.fromarray(shown[1]).save(label_path)
    notes = records.read_description("folder", tmp_path / "shown" / "source").notes
    assert notes == (
        "images with an EXIF orientation: they are turned as it says (1, such as val_0.jpg)",
    )
    Image.fromarray(shown[1][1:]).save(label_path)
    with pytest.raises(InputError, match="as its EXIF orientation 6 shows it"):
        data.prepare("folder", source, tmp_path / "other")


def test_a_list_may_be_written_on_windows(source, tmp_path):
    for kind, ending in (("images", "jpg"), ("labels", "png")):
        (source / kind / "deep").mkdir()
        path = source / kind / f"val_0.{ending}"
        path.rename(source / kind / "deep" / path.name)
    (source / "val.txt").write_text("deep\\val_0\r\nval_1\r\n", "utf-16", newline="")
    data.prepare("folder", source, tmp_path / "data")
    assert data.load("folder", tmp_path / "data").splits["val"].ids == ("deep/val_0", "val_1")


@pytest.mark.parametrize("spelling", ["./train_0", ".//train_0"])
def test_an_image_is_in_one_list_however_it_is_spelt(source, tmp_path, spelling):
    with (source / "val.txt").open("a") as file:
        file.write(f"{spelling}\n")
    with pytest.raises(InputError, match=r"train.txt: 'train_0' is in val.txt too"):
        data.prepare("folder", source, tmp_path / "data")


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


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".tif", ".TIFF", ".webp", ".bmp"])
def test_images_of_many_endings_are_found(source, ending):
    path = source / "images" / "val_1.jpg"
    path.rename(path.with_suffix(ending))
    layout = folder.read_layout(source)
    assert layout.paths("val", "val_1")[0] == path.with_suffix(ending)


def test_a_photo_that_cannot_be_read_is_pointed_out(source):
    (source / "images" / "val_1.jpg").rename(source / "images" / "val_1.HEIC")
    with pytest.raises(InputError) as error:
        folder.read_layout(source)
    assert any("val_1.HEIC is not read; convert it to .jpg" in x for x in error.value.details)


@pytest.mark.parametrize(
    "line", ["{}.jpg", "images/{}.jpg", "images/{}.jpg labels/{}.png", "C:\\mine\\images\\{}.jpg"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_may_hold_endings_and_paths(source, tmp_path, line, encoding):
    text = "\r\n\r\n".join(line.replace("{}", f"val_{i}") for i in (1, 0))
    (source / "val.txt").write_text(text, encoding, newline="")
    assert folder.read_layout(source).splits["val"] == ("val_1", "val_0")


def test_everything_that_is_wrong_is_named_at_once(source):
    for path in ("images/val_1.png", "labels/stray.png"):
        (source / path).write_bytes((source / "labels" / "val_1.png").read_bytes())
    (source / "test.txt").write_text("no such\n")
    (source / "val.txt").write_text("val_0\nval_1\ntrain_0\n")
    (source / "unlabeled.txt").write_text("test_0\ntest_0\n")
    (source / "labels" / "val_0.png").unlink()
    with pytest.raises(InputError) as error:
        folder.read_layout(source)
    text = "\n".join(error.value.details)
    assert "\n" not in str(error.value)
    for part in (
        "val_1.jpg and val_1.png have the same id 'val_1'; rename all but one",
        "stray.png: no image in images/ has this name; give mask and image the same name",
        "'no such' is in test.txt",
        "train.txt: 'train_0' is in val.txt too",
        "unlabeled.txt: 'test_0' occurs twice",
        "val_0.png: no such file, but 'val_0' is in val.txt; draw the mask",
    ):
        assert part in text
    assert len(error.value.details) == 6


def test_an_image_without_a_mask_is_unlabelled(source):
    (source / "labels" / "train_1.png").unlink()
    (source / "images" / "sub dir").mkdir()
    new = source / "images" / "sub dir" / "größe 2.jpg"
    new.write_bytes((source / "images" / "val_0.jpg").read_bytes())
    assert folder.read_layout(source).splits == {
        "train": ("train_2", "train_0"),
        "val": ("val_1", "val_0"),
        "test": ("test_0",),
        "unlabeled": ("train_1", "sub dir/größe 2"),
    }


def test_without_lists_images_with_masks_are_split(source, tmp_path):
    """The same split, ids and pixels, whether it is prepared by itself or by `load`."""
    for name in ("train", "val", "test", "classes"):
        (source / f"{name}.txt").unlink()
    (source / "labels" / "val_1.png").unlink()
    data.prepare("folder", source, tmp_path / "data")
    one = data.load("folder", tmp_path / "data")
    other = data.load("folder", source=source)
    assert one.info.class_names == ("class_0", "class_1", "class_2")
    assert {name: len(split) for name, split in one.splits.items()} == {
        "train": 4,
        "val": 1,
        "unlabeled": 1,
    }
    assert one.fingerprint == other.fingerprint
    for name, split in one.splits.items():
        assert split.ids == other.splits[name].ids
        for a, b in zip(split, other.splits[name], strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["label"], b["label"])
        for lists in (tmp_path / "data" / "source" / "lists", source / ".sassn" / "lists"):
            assert tuple((lists / f"{name}.txt").read_text().splitlines()) == split.ids
    notes = records.read_description("folder", source / ".sassn").notes
    assert [note.partition(":")[0] for note in notes] == ["no classes.txt", "no val.txt"]


def test_a_single_mask_cannot_be_split(source, tmp_path):
    for name in ("train", "val", "test"):
        (source / f"{name}.txt").unlink()
    for path in sorted((source / "labels").iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="a single training image has a mask; expected at least"):
        data.prepare("folder", source, tmp_path / "data")
    next((source / "labels").iterdir()).unlink()
    with pytest.raises(InputError, match="no training image has a mask there"):
        data.prepare("folder", source, tmp_path / "data")


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


def test_masks_in_the_colours_of_classes(source, tmp_path):
    """The colours are those of the classes in pictures too."""
    before = labels_of(source, tmp_path / "ids")
    colors = np.array([(9, 8, 7), (200, 0, 0), (0, 0, 200)], np.uint8)
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(CLASSES, colors, strict=True)]
    (source / "classes.txt").write_text("\n".join(lines))
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            label = np.asarray(image)
        Image.fromarray(colors[label % 3]).save(path)  # no pixel is ignored
    for ids, of_colors in zip(before, labels_of(source, tmp_path / "colors"), strict=True):
        np.testing.assert_array_equal(of_colors, ids % 3)
    info = data.load("folder", tmp_path / "colors").info
    assert info.class_names == CLASSES
    np.testing.assert_array_equal(info.palette, colors)


def test_all_files_that_cannot_be_read_are_named_at_once(source, tmp_path):
    (source / "images" / "train_1.jpg").write_bytes(b"")
    (source / "labels" / "val_0.png").write_bytes(b"no mask")
    with pytest.raises(InputError, match="the first of 2 problems, which stand above") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert [detail.partition(":")[0] for detail in error.value.details] == [
        str(source / "images" / "train_1.jpg"),
        str(source / "labels" / "val_0.png"),
    ]
