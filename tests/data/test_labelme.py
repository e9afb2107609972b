"""Shapes of LabelMe, against masks written by hand."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.annotations import LabelMe
from sassn_jax.errors import InputError
from tests.data.annotated import BOX, HEIGHT, NAMES, WIDTH, labelme, shape, turned_photo


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
