"""Shapes of LabelMe and COCO: against masks written by hand, and pycocotools' own reader."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data.annotations import CocoImage, LabelMe, find_annotations
from sassn_jax.data.images import read_photo
from sassn_jax.errors import InputError

HEIGHT, WIDTH = 20, 30
NAMES = ("background", "box", "ball")
BOX = [[4, 3], [12, 3], [12, 9], [4, 9]]


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "photo.png")
    return read_photo(tmp_path / "photo.png")


def turned_photo(tmp_path):
    """Returns a photo that is stored WIDTH x HEIGHT and shown after a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    return read_photo(tmp_path / "turned.png")


def shape(label, points, kind="polygon", **others):
    return {"label": label, "points": points, "shape_type": kind, **others}


def labelme(tmp_path, *shapes, size=(HEIGHT, WIDTH)):
    path = tmp_path / "photo.json"
    height, width = size
    content = {"version": "5.0", "shapes": shapes, "imageHeight": height, "imageWidth": width}
    path.write_text(json.dumps({**content, "imagePath": "photo.jpg", "imageData": None}))
    return LabelMe(path)


def test_later_shapes_of_labelme_lie_over_earlier_ones(tmp_path, photo):
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:10, 4:13] = 1  # the pixels of the outline belong to a shape
    expected[8:16, 10:26] = 2
    expected[0:2, 0:6] = 255
    shapes = (
        shape("box", BOX),
        shape("ball", [[25, 15], [10, 8]], "rectangle"),  # from corner to corner in any order
        shape("__ignore__", [[0, 0], [5, 0], [5, 1], [0, 1]]),
    )
    np.testing.assert_array_equal(labelme(tmp_path, *shapes).draw(NAMES, photo), expected)
    expected[8:10, 10:13] = 1
    first, second, third = shapes
    other = labelme(tmp_path, second, first, third)
    np.testing.assert_array_equal(other.draw(NAMES, photo), expected)


def test_circles_and_masks_of_labelme(tmp_path, photo):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    circle = labelme(tmp_path, shape("ball", [[14, 9], [17, 13]], "circle"))  # of radius 5
    distance = np.hypot(x - 14, y - 9)
    drawn = circle.draw(NAMES, photo)
    assert (drawn[distance <= 4.5] == 2).all()
    assert (drawn[distance >= 5.5] == 0).all()
    stencil = np.random.default_rng(0).integers(0, 2, (5, 4), np.uint8)
    file = io.BytesIO()
    Image.fromarray(stencil).save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    masked = labelme(tmp_path, shape("box", [[7, 2], [10, 6]], "mask", mask=content))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:7, 7:11] = stencil
    np.testing.assert_array_equal(masked.draw(NAMES, photo), expected)


def test_lines_and_points_of_labelme(tmp_path, photo):
    """A line is 10 pixels wide, and the radius of a point is 5, as in labelme.utils.shape_to_mask.

    A pixel at the edge may be drawn or not: the definition leaves out those nearer than a pixel.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for kind, points, distance in (
        ("point", [[14, 9]], np.hypot(x - 14, y - 9)),
        ("line", [[4, 9], [25, 9]], np.where((x >= 4) & (x <= 25), abs(y - 9), 99)),
        ("line", [[12, 3], [12, 16]], np.where((y >= 3) & (y <= 16), abs(x - 12), 99)),
    ):
        drawn = labelme(tmp_path, shape("ball", points, kind)).draw(NAMES, photo)
        assert (drawn[distance <= 4] == 2).all()
        assert (drawn[distance >= 6] == 0).all()
    corner = [[4, 9], [25, 9], [25, 18]]
    parts = [labelme(tmp_path, shape("ball", points, "line")).draw(NAMES, photo)
             for points in (corner[:2], corner[1:])]  # fmt: skip
    strip = labelme(tmp_path, shape("ball", corner, "linestrip")).draw(NAMES, photo)
    np.testing.assert_array_equal(strip, np.maximum(*parts))
    slanted = [[4, 9], [14, 2], [20, 8], [10, 15]]
    polygon, rectangle = (
        labelme(tmp_path, shape("ball", slanted, kind)).draw(NAMES, photo)
        for kind in ("polygon", "oriented_rectangle")
    )
    np.testing.assert_array_equal(rectangle, polygon)


def test_shapes_end_at_the_edges_of_the_image(tmp_path, photo):
    drawn = labelme(tmp_path, shape("box", [[-9, -9], [99, -9], [99, 99], [-9, 99]]))
    np.testing.assert_array_equal(drawn.draw(NAMES, photo), np.ones((HEIGHT, WIDTH)))


@pytest.mark.parametrize(
    ("names", "rest"),
    [(("background", "box"), 0), (("Background", "box"), 0), (("_background_", "box"), 0),
     (("box", "background"), 255), (("box", "ball"), 255)],
)  # fmt: skip
def test_what_no_shape_covers_is_background_only_if_the_first_class_is(
    tmp_path, photo, names, rest
):
    drawn = labelme(tmp_path, shape("box", BOX)).draw(names, photo)
    expected = np.full((HEIGHT, WIDTH), rest)
    expected[3:10, 4:13] = names.index("box")
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("shown", [True, False])
def test_shapes_on_a_turned_photo(tmp_path, shown):
    """A file of the size of the stored pixels is turned with them."""
    size = (WIDTH, HEIGHT) if shown else (HEIGHT, WIDTH)
    expected = np.zeros(size, np.uint8)
    expected[3:10, 4:13] = 1
    drawn = labelme(tmp_path, shape("box", BOX), size=size).draw(NAMES, turned_photo(tmp_path))
    np.testing.assert_array_equal(drawn, expected if shown else np.rot90(expected, -1))


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([shape("boks", BOX)], "the label 'boks' is not in classes.txt, which has background, box"),
        ([shape("box", BOX[:2])], "cannot be read as a file of LabelMe (ValueError: a polygon of"),
        ([shape("box", BOX, "line")], "cannot be read as a file of LabelMe (ValueError: a line of"),
        ([shape("box", BOX, "points")], "cannot be read as a file of LabelMe (ValueError: a shape"),
        ([shape("box", [[1, 2, 3]])], "cannot be read as a file of LabelMe (ValueError: too many"),
        ([{"label": "box"}], "cannot be read as a file of LabelMe (KeyError: 'points')"),
        ([7], "cannot be read as a file of LabelMe (TypeError: "),
        ([shape("box", [["x", 2]] * 3)], "cannot be read as a file of LabelMe (ValueError: could"),
        ([shape("box", [[float("nan"), 2]] * 3)], "cannot be read as a file of LabelMe (ValueErr"),
        ([shape([1], BOX)], "the label [1] is not in classes.txt"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_of_labelme_is_one_line(tmp_path, photo, shapes, reason):
    drawn = labelme(tmp_path, *shapes)
    with pytest.raises(InputError) as error:
        drawn.draw(NAMES, photo)
    assert str(error.value).startswith(f"{drawn.path}: {reason}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "{}", "[1]", "null", '{"shapes": 3}'])
def test_a_file_that_is_not_labelmes(tmp_path, photo, text):
    path = tmp_path / "photo.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"photo.json: cannot be read as (JSON|a file of LabelMe)"):
        LabelMe(path).draw(NAMES, photo)


def test_a_file_of_another_size_is_refused(tmp_path, photo):
    with pytest.raises(InputError, match=r"photo.json: 30x10 pixels, but its image has 30x20"):
        labelme(tmp_path, size=(10, 30)).draw(NAMES, photo)


def coco_file(path, segmentations, file_name="photo.png", category=2, **changes):
    """Writes a file of one image; category 1 is called ball, category 2 box."""
    content = {
        "images": [{"id": 5, "file_name": file_name, "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "box"}],
        "annotations": [
            {"id": i, "image_id": 5, "category_id": category, "segmentation": one, "iscrowd": 0}
            for i, one in enumerate(segmentations)
        ],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))
    return path


def runs(mask):
    """Returns COCO's uncompressed RLE: lengths of 0 and 1 in turn, down the columns."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def test_polygons_and_rle_are_what_pycocotools_reads(tmp_path, photo):
    """Of each segmentation alone, by the class COCO of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    mask = pytest.importorskip("pycocotools.mask")
    noise = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH)).astype(np.uint8)
    compressed = mask.encode(np.asfortranarray(noise))
    compressed["counts"] = compressed["counts"].decode()
    for segmentation in (
        [[4, 3, 12.5, 3.5, 12, 9, 4, 9.2]],
        [[4, 3, 12, 3, 12, 9], [20, 10, 29, 10, 29.9, 19.9]],  # one object in two parts
        runs(noise),
        compressed,
    ):
        path = coco_file(tmp_path / "labels" / "coco.json", [segmentation])
        (found,) = find_annotations(path.parent, ["photo"]).values()
        reader = coco.COCO(str(path))
        expected = reader.annToMask(reader.anns[0])
        assert expected.any()
        np.testing.assert_array_equal(found.draw(NAMES, photo), expected)
        if segmentation is not compressed and isinstance(segmentation, dict):
            np.testing.assert_array_equal(found.draw(NAMES, photo), noise)


@pytest.mark.parametrize("is_first", [True, False])
def test_small_shapes_of_coco_lie_over_large_ones(tmp_path, photo, is_first):
    pytest.importorskip("pycocotools")
    large, small = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    large[2:18, 3:20] = 1
    small[5:9, 15:25] = 1
    shapes = [(0, "box", runs(large)), (1, "ball", runs(small))]
    shapes = tuple(reversed(shapes) if is_first else shapes)
    drawn = CocoImage(tmp_path / "c.json", (HEIGHT, WIDTH), shapes).draw(NAMES, photo)
    np.testing.assert_array_equal(drawn, np.where(small, 2, large))


def test_the_later_of_two_shapes_of_one_size_is_on_top(tmp_path, photo):
    pytest.importorskip("pycocotools")
    whole = runs(np.ones((HEIGHT, WIDTH), np.uint8))
    shapes = ((0, "box", whole), (1, "ignore", whole))
    drawn = CocoImage(tmp_path / "c.json", (HEIGHT, WIDTH), shapes).draw(NAMES, photo)
    np.testing.assert_array_equal(drawn, np.full((HEIGHT, WIDTH), 255))


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "it has a box but no segmentation; draw a polygon"),
        ([[1, 2, 3, 4]], "a polygon has not three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon has not three points or more"),
        ({"size": [HEIGHT, WIDTH], "counts": [3, 4]}, "the counts of its RLE are not those of all"),
        ({"size": [HEIGHT, 7], "counts": "x"}, "RLE of size [20, 7] in an image of [20, 30]"),
        ({"counts": [1]}, "'size'"),
        ([[{}] * 6], ""),
        (7, ""),
    ],
)
def test_a_segmentation_that_cannot_be_drawn_is_named(tmp_path, photo, segmentation, reason):
    pytest.importorskip("pycocotools")
    path = coco_file(tmp_path / "labels" / "coco.json", [segmentation or [], [[1, 1, 5, 1, 5, 5]]])
    (found,) = find_annotations(path.parent, ["photo"]).values()
    with pytest.raises(InputError) as error:
        found.draw(NAMES, photo)
    assert str(error.value).startswith(f"{path}: annotation 0: cannot be drawn ({reason}")


def test_an_image_is_found_however_deep_its_file_is(tmp_path):
    folder = tmp_path / "labels"
    polygon = [[1, 1, 5, 1, 5, 5]]
    coco_file(folder / "a.json", [polygon], "images/train/one.jpg")
    coco_file(folder / "b.json", [polygon], "C:\\photos\\deep\\two.JPG")
    coco_file(folder / "c.json", [], "three.jpg")  # listed, but nobody has drawn on it
    (folder / "deep").mkdir()
    (folder / "deep" / "four.json").write_text("{}")
    (folder / "one.json").write_text("{}")
    (folder / "._one.json").write_text("")
    found = find_annotations(folder, ["one", "deep/two", "three", "deep/four", "five"])
    assert {id_: (type(one), one.path.name) for id_, one in found.items()} == {
        "one": (LabelMe, "one.json"),
        "deep/two": (CocoImage, "b.json"),
        "deep/four": (LabelMe, "four.json"),
    }
    assert find_annotations(tmp_path / "nowhere", ["one"]) == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"categories": []}, "cannot be read as a file of COCO (KeyError: 2)"),
        ({"images": [{"id": 5}]}, "cannot be read as a file of COCO (KeyError: 'file_name')"),
        ({"images": 5}, "cannot be read as a file of COCO (TypeError: "),
        ({"images": []}, "none of the files that it names is in images/"),
    ],
)
def test_a_file_of_coco_that_is_damaged_is_one_line(tmp_path, changes, reason):
    path = coco_file(tmp_path / "labels" / "coco.json", [[[1, 1, 5, 1, 5, 5]]], **changes)
    with pytest.raises(InputError) as error:
        find_annotations(path.parent, ["photo"])
    assert str(error.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize("text", ['{"shapes": []}', "[]", "{"])
def test_a_json_file_that_belongs_to_no_image_is_named(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        find_annotations(tmp_path, ["photo"])
    assert str(error.value).startswith(f"{path}: ")


def test_two_files_of_coco_do_not_annotate_one_image(tmp_path):
    for name in ("a.json", "b.json"):
        coco_file(tmp_path / "labels" / name, [[[1, 1, 5, 1, 5, 5]]])
    with pytest.raises(InputError, match=r"b.json: 'photo' is annotated in .*a.json too$"):
        find_annotations(tmp_path / "labels", ["photo"])


def test_without_pycocotools_one_line_says_how_to_get_it(tmp_path, photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    path = coco_file(tmp_path / "labels" / "coco.json", [[[1, 1, 5, 1, 5, 5]]])
    (found,) = find_annotations(path.parent, ["photo"]).values()
    with pytest.raises(InputError, match=r"coco.json: pycocotools, .*pip install 'sassn_jax\[coco"):
        found.draw(NAMES, photo)


def test_two_images_of_coco_for_one_photo_are_refused(tmp_path):
    """Otherwise the annotations of one of them would be lost."""
    size = {"width": WIDTH, "height": HEIGHT}
    images = [{"id": i, "file_name": f"{i}/photo.png", **size} for i in (1, 2)]
    triangle = {"category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
    annotations = [{"id": i, "image_id": i, **triangle} for i in (1, 2)]
    coco_file(tmp_path / "a.json", [], images=images, annotations=annotations)
    with pytest.raises(InputError, match=r"^.*a.json: two of its images can be 'photo'"):
        find_annotations(tmp_path, ["photo"])


def test_a_polygon_far_outside_is_refused(tmp_path, photo):
    """Pycocotools would take memory for each pixel of its edge."""
    pytest.importorskip("pycocotools")
    coco_file(tmp_path / "a.json", [[[0, 0, 1e9, 0, 1e9, 1e9]]])
    found = find_annotations(tmp_path, ["photo"])["photo"]
    with pytest.raises(InputError, match=r"a point has the coordinate 1e\+09, far outside"):
        found.draw(NAMES, photo)


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


@pytest.mark.parametrize("counts", ["o0oooo3", "`", "oooP", "", "\x00", "é", "0" * 5, "o" * 50])
def test_runs_that_are_cut_short_or_beyond_the_image_are_refused(tmp_path, photo, counts):
    """Pycocotools 2.0.11 writes outside of its memory for the second and third."""
    pytest.importorskip("pycocotools")
    coco_file(tmp_path / "a.json", [{"size": [HEIGHT, WIDTH], "counts": counts}])
    with pytest.raises(InputError, match="annotation 0: cannot be drawn"):
        find_annotations(tmp_path, ["photo"])["photo"].draw(NAMES, photo)


def test_compressed_runs_are_unpacked_as_pycocotools_does(tmp_path, photo):
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        drawn = (rng.random((HEIGHT, WIDTH)) < share).astype(np.uint8)
        drawn[5:9] = drawn[5]  # runs of all lengths
        packed = coco.encode(np.asfortranarray(drawn))["counts"].decode()
        coco_file(tmp_path / "a.json", [{"size": [HEIGHT, WIDTH], "counts": packed}])
        found = find_annotations(tmp_path, ["photo"])["photo"].draw(NAMES, photo)
        np.testing.assert_array_equal(found, drawn)
