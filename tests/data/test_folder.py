"""Images of one's own."""

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import folder
from sassn_jax.errors import InputError
from tests.data.conftest import CLASSES


def test_a_folder_of_ones_own(source, tmp_path):
    """Without images to test on, and with some that have no mask."""
    (source / "test.txt").unlink()
    (source / "unlabeled.txt").write_text("plain\n")
    (source / "images" / "plain.jpg").write_bytes((source / "images" / "val_0.jpg").read_bytes())
    folder.prepare(source, tmp_path / "data")
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


@pytest.mark.parametrize("what", ["classes.txt", "labels/val_0.png", "images/val_0.jpg"])
def test_another_folder_with_the_same_names_is_refused(source, tmp_path, what):
    folder.prepare(source, tmp_path / "data")
    assert not folder.prepare(source, tmp_path / "data")
    if what == "classes.txt":
        (source / what).write_text("\n".join((*CLASSES[:2], "Alpaca")))
    else:
        with Image.open(source / what) as image:
            Image.fromarray(np.zeros_like(np.asarray(image))).save(source / what)
    with pytest.raises(InputError, match="from a source with other classes, images or masks"):
        folder.prepare(source, tmp_path / "data")


def test_images_may_be_png(source, tmp_path):
    path = source / "images" / "val_0.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    path.unlink()
    folder.prepare(source, tmp_path / "data")
    val = data.load("folder", tmp_path / "data").splits["val"]
    np.testing.assert_array_equal(val[list(val.ids).index("val_0")]["image"], pixels)


def test_all_files_that_are_missing_are_told_of_at_once_with_the_list(source, tmp_path):
    for id_ in ("train_0", "train_2"):
        (source / "images" / f"{id_}.jpg").unlink()
    with pytest.raises(InputError) as error:
        folder.prepare(source, tmp_path / "data")
    assert str(error.value) == (
        f"{source / 'images' / 'train_0.jpg'}: no such file, nor train_0.png, but 'train_0' is in "
        "train.txt (2 such: train_0, train_2)"
    )


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".tif"])
def test_an_image_of_another_ending_is_pointed_out(source, tmp_path, ending):
    path = source / "images" / "val_1.jpg"
    path.rename(path.with_suffix(ending))
    with pytest.raises(InputError, match=f"in val.txt; rename or convert val_1{ending}$"):
        folder.prepare(source, tmp_path / "data")


def test_ids_with_an_ending_are_pointed_out(source, tmp_path):
    (source / "val.txt").write_text("val_0.jpg\nval_1.jpg\n")
    with pytest.raises(InputError, match=r"val_0.jpg, val_1.jpg\); expected ids without .jpg$"):
        folder.prepare(source, tmp_path / "data")
