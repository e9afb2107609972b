"""Files of LabelMe and COCO beside masks, and what both kinds are refused for."""

import json

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data.annotations import find_annotations
from sassn_jax.errors import InputError
from tests.data.annotated import BOX, NAMES, coco_file, labelme, shape


@pytest.mark.parametrize("text", ['{"shapes": []}', "[]", "{"])
def test_a_json_file_that_belongs_to_no_image_is_named(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        find_annotations(tmp_path, ["photo"])
    assert str(error.value).startswith(f"{path}: ")


def test_a_folder_with_masks_labelme_and_coco(source, tmp_path):
    """A mask as PNG comes before an annotation of the same image."""
    pytest.importorskip("pycocotools")
    (source / "classes.txt").write_text("background\nbox\nball\n")
    labels = source / "labels"
    for id_ in ("val_0", "val_1"):
        with Image.open(labels / f"{id_}.png") as image:
            width, height = image.size
        (labels / f"{id_}.png").unlink()
        size = {"width": width, "height": height}
        if id_ == "val_0":
            content = {"shapes": [shape("box", BOX)]}
            (labels / f"{id_}.json").write_text(json.dumps(content))
        else:
            polygon = [[4, 3, 12, 3, 12, 9, 4, 9]]
            images = [{"id": 5, "file_name": "val_1.jpg", **size}]
            coco_file(labels / "annotations.json", [polygon], images=images)
    content = {"shapes": [shape("ball", BOX)]}
    (labels / "train_0.json").write_text(json.dumps(content))
    with Image.open(labels / "train_0.png") as image:
        train = np.asarray(image)
    data.prepare("folder", source, tmp_path / "data")
    splits = data.load("folder", tmp_path / "data").splits
    found = {one["id"]: one["label"] for split in ("train", "val") for one in splits[split]}
    np.testing.assert_array_equal(found["train_0"], train)
    for id_, rows, columns in (
        ("val_0", slice(3, 10), slice(4, 13)),
        ("val_1", slice(3, 9), slice(4, 12)),
    ):
        expected = np.zeros_like(found[id_])
        expected[rows, columns] = 1
        np.testing.assert_array_equal(found[id_], expected)


def test_labels_without_a_class_list_ask_for_one(tmp_path, photo):
    annotation = labelme(tmp_path, shape("road", BOX))
    with pytest.raises(InputError, match=r"the label 'road' needs a classes\.txt; expected one"):
        annotation.draw(("", "", ""), photo)


def test_outlines_that_would_take_long_are_refused(tmp_path, photo):
    """Pycocotools takes memory, and Pillow time, in proportion to an outline's length."""
    pytest.importorskip("pycocotools")
    zigzag = [[x, y] for x in range(10) for y in (0, 9e5)]
    coco_file(tmp_path / "a.json", [[[value for point in zigzag for value in point]]])
    both = find_annotations(tmp_path, ["photo"])["photo"], labelme(tmp_path, shape("box", zigzag))
    for annotation in both:
        with pytest.raises(InputError, match=r"its outline is 1.71e\+07 pixels long; expected at"):
            annotation.draw(NAMES, photo)
