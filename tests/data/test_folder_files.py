"""Which files of a user's folder are images and masks, and which are wrong."""

import json
import subprocess
import unicodedata

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import folder
from sassn_jax.errors import InputError


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


def test_a_jpeg_is_no_mask(source, tmp_path):
    path = source / "labels" / "train_0.png"
    path.rename(path.with_suffix(".jpg"))
    with pytest.raises(
        InputError, match=r"train_0.jpg: is no mask; JPEG changes class ids, so export"
    ):
        data.prepare("folder", source, tmp_path / "data")


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


def test_letters_with_accents_may_be_stored_in_two_ways(source):
    """A zip file from macOS has `u` and two dots where Linux and Windows have one letter."""
    one, two = (unicodedata.normalize(form, "über/Größe é") for form in ("NFC", "NFD"))
    assert one != two
    for kind, name in (("images", one), ("labels", two)):
        (source / kind / name).parent.mkdir()
    for kind, name, suffix in (("images", one, ".jpg"), ("labels", two, ".png")):
        (source / kind / f"val_0{suffix}").rename(source / kind / f"{name}{suffix}")
    (source / "val.txt").write_text(f"{two}.jpg\nval_1\n", encoding="utf-8")
    layout = folder.read_layout(source)
    assert layout.splits["val"] == (one, "val_1")
    assert layout.read("val", one)
    (source / "labels" / f"{two}.png").unlink()
    shape = {"label": "Road", "points": [[0, 0], [9, 0], [9, 9]]}
    (source / "labels" / f"{two}.json").write_text(json.dumps({"shapes": [shape]}))
    assert one in folder.read_layout(source).annotations


@pytest.mark.parametrize("ending", ["_mask", "_labelIds", ".mask"])
def test_masks_with_a_word_after_the_name_are_renamed_by_the_command_in_the_message(source, ending):
    for path in (source / "labels").iterdir():
        path.rename(path.with_name(f"{path.stem}{ending}.png"))
    with pytest.raises(InputError) as error:
        folder.read_layout(source)
    (line,) = (x for x in error.value.details if "no image in images/ has this name" in x)
    assert f"the names end in {ending!r} after that of the image" in line
    command = line.partition("in labels: ")[2]
    subprocess.run(command, shell=True, cwd=source / "labels", check=True)
    folder.read_layout(source)


def test_masks_of_other_names_are_not_renamed(source):
    (source / "labels" / "val_0.png").rename(source / "labels" / "val_00.png")
    with pytest.raises(InputError) as error:
        folder.read_layout(source)
    assert any("give mask and image the same name" in x for x in error.value.details)


def test_messages_name_paths_from_the_folder_on(source):
    (source / "images" / "IMG").mkdir()
    (source / "images" / "IMG" / "5.heic").write_bytes(b"")
    with pytest.raises(InputError, match=r"images: IMG/5.heic is not read"):
        folder.read_layout(source)
