"""Shapes of COCO, against masks written by hand and pycocotools' own reader."""

import numpy as np
import pytest

from sassn_jax.data.annotations import CocoImage, LabelMe, find_annotations
from sassn_jax.errors import InputError
from tests.data.annotated import HEIGHT, NAMES, WIDTH, coco_file


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
