"""How the images of a user's folder are split, with lists and without."""

import json

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import folder, records
from sassn_jax.errors import InputError


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


@pytest.mark.parametrize(
    "line", ["{}.jpg", "images/{}.jpg", "images/{}.jpg labels/{}.png", "C:\\mine\\images\\{}.jpg"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_may_hold_endings_and_paths(source, tmp_path, line, encoding):
    text = "\r\n\r\n".join(line.replace("{}", f"val_{i}") for i in (1, 0))
    (source / "val.txt").write_text(text, encoding, newline="")
    assert folder.read_layout(source).splits["val"] == ("val_1", "val_0")


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


def test_validation_shows_the_classes_of_drawn_shapes(tmp_path):
    """Five of 15 images are enough for all four classes; a fifth, three of them, are not."""
    names = ("box", "ball", "cat", "dog")
    (tmp_path / "classes.txt").write_text("\n".join(names))
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for i in range(15):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(tmp_path / f"images/{i}.png")
        shape = {"label": names[i % 4], "points": [[1, 1], [9, 1], [9, 9]]}
        (tmp_path / f"labels/{i}.json").write_text(json.dumps({"shapes": [shape]}))
    splits = folder.read_layout(tmp_path).examined(lambda done, total: None).splits
    assert {int(id_) % 4 for id_ in splits["val"]} == {0, 1, 2, 3}
    assert len(splits["val"]) == 4
