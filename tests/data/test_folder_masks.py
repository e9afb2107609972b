"""What the masks in a user's folder mean."""

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import records
from sassn_jax.data.dataset import make_palette
from sassn_jax.errors import InputError
from tests.data.conftest import CLASSES, labels_of


def paint(source, values):
    """Repeats the values over each mask, and writes a list of two classes."""
    (source / "classes.txt").write_text("background\nthing\n")
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            width, height = image.size
        label = np.resize(np.array(values, np.uint8), (height, width))
        Image.fromarray(label).save(path)


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
        "images with an EXIF orientation: they are turned as it says (1, such as images/val_0.jpg)",
    )
    Image.fromarray(shown[1][1:]).save(label_path)
    with pytest.raises(InputError, match="as its EXIF orientation 6 shows it"):
        data.prepare("folder", source, tmp_path / "other")


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


COLORS = np.array([(0, 0, 0), (9, 8, 7), (200, 0, 0), (0, 0, 200)], np.uint8)


@pytest.mark.parametrize("in_colors", [False, True])
def test_ignore_in_the_list_of_classes_is_no_class(source, tmp_path, in_colors):
    """Its colour, or the number of its line, is ignored; the others keep their order."""
    before = labels_of(source, tmp_path / "ids")
    lines = ["ignore", *CLASSES]
    if in_colors:
        lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(lines, COLORS, strict=True)]
    (source / "classes.txt").write_text("\n".join(lines))
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            numbers = np.asarray(image) + np.uint8(1)  # 255, ignored, becomes 0
        Image.fromarray(COLORS[numbers] if in_colors else numbers).save(path)
    assert any((label == 255).any() for label in before)
    for label, same in zip(before, labels_of(source, tmp_path / "data"), strict=True):
        np.testing.assert_array_equal(label, same)
    info = data.load("folder", tmp_path / "data").info
    assert info.class_names == CLASSES
    if in_colors:
        np.testing.assert_array_equal(info.palette, COLORS[1:])
    description = records.read_description("folder", tmp_path / "data" / "source")
    assert description.notes[0].startswith("classes.txt has 'ignore': pixels with ")
    assert [len(counts.pixels) for counts in description.counts.values()] == [3, 3, 3]


@pytest.mark.parametrize("in_colors", [False, True])
def test_a_mask_that_a_network_proposed_holds_class_ids_also_beside_ignore(
    source, tmp_path, in_colors
):
    """The network knows nothing of `ignore`; its files are known by their palette."""
    lines = ["ignore", *CLASSES]
    colors = {}
    if in_colors:
        lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(lines, COLORS, strict=True)]
        colors = dict(zip(CLASSES, map(tuple, COLORS[1:].tolist()), strict=True))
    (source / "classes.txt").write_text("\n".join(lines))
    info = data.DatasetInfo("folder", CLASSES, make_palette(CLASSES, colors))
    proposed = []
    for path in sorted((source / "labels").iterdir()):
        with Image.open(path) as image:
            proposed.append(np.resize(np.array([0, 255, 2, 1], np.uint8), image.size[::-1]))
        mask = Image.fromarray(proposed[-1])
        mask.putpalette(info.mask_palette.tobytes())
        mask.save(path)  # by another program, which keeps no mark
    found = labels_of(source, tmp_path / "data")
    assert len(found) == len(proposed)
    for label in found:
        np.testing.assert_array_equal(np.unique(label), [0, 1, 2, 255])
        np.testing.assert_array_equal(label.ravel()[:4], [0, 255, 2, 1])


def test_an_id_that_is_one_too_many_is_explained(source, tmp_path):
    path = source / "labels" / "val_0.png"
    with Image.open(path) as image:
        label = np.zeros(image.size[::-1], np.uint8)
    label[1, 2] = len(CLASSES)
    Image.fromarray(label).save(path)
    listed = "if 0 stands for pixels without a class, write `ignore` as the first line of classes"
    with pytest.raises(InputError, match=rf"val_0.png: class id 3; expected 0 to 2 .*; {listed}"):
        data.prepare("folder", source, tmp_path / "data")
    Image.fromarray(np.resize(np.array([1, 2, 3], np.uint8), label.shape)).save(path)
    with pytest.raises(InputError, match=r"begin at 1, so subtract 1 from each, or write `ignore`"):
        data.prepare("folder", source, tmp_path / "data")
    (source / "classes.txt").write_text("\n".join(["ignore", *CLASSES[:2]]))
    with pytest.raises(InputError, match=r"class id 3; expected 0 to 2") as error:
        data.prepare("folder", source, tmp_path / "data")
    assert "write `ignore`" not in str(error.value)


def test_masks_of_0_and_255_beside_ignore_are_refused(source, tmp_path):
    paint(source, [0, 255])
    (source / "classes.txt").write_text("ignore\nthing\n")
    with pytest.raises(InputError, match=r"all masks hold 0 and 255 alone, but classes.txt has"):
        data.prepare("folder", source, tmp_path / "data")


def test_a_colour_of_no_class_names_the_line_to_add(source, tmp_path):
    lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip(CLASSES, COLORS[1:], strict=True)]
    (source / "classes.txt").write_text("\n".join(lines))
    for path in (source / "labels").iterdir():
        with Image.open(path) as image:
            Image.fromarray(COLORS[np.asarray(image) + np.uint8(1)]).save(path)
    with pytest.raises(
        InputError, match=r"most often 0 0 0; .* or `ignore 0 0 0` if it stands for"
    ):
        data.prepare("folder", source, tmp_path / "data")
