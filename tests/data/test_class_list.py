"""classes.txt, with and without colours."""

import numpy as np
import pytest

from sassn_jax.data.class_list import read_class_list
from sassn_jax.errors import InputError


@pytest.mark.parametrize(
    ("text", "names", "colors"),
    [
        ("sky\nroad 2\n", ("sky", "road 2"), ()),
        ("sky 0 0 0\nroad 2 128 64 128\n", ("sky", "road 2"), ((0, 0, 0), (128, 64, 128))),
        ("\ufeffsky\t0\t0\t0\r\n\r\na b, 1, 2, 3\r\n", ("sky", "a b"), ((0, 0, 0), (1, 2, 3))),
        ("background:0,0,0::\ncar:255,0,0::\n", ("background", "car"), ((0, 0, 0), (255, 0, 0))),
        ("lane 1 2\nlane 3 4\n", ("lane 1 2", "lane 3 4"), ()),
    ],
)
def test_lines_are_names_or_names_and_colours(tmp_path, text, names, colors):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8", newline="")
    found = read_class_list(path)
    assert (found.names, found.colors) == (names, dict(zip(names, colors, strict=False)))
    assert (found.ignores, found.notes) == (False, ())


def test_ignore_is_no_class(tmp_path):
    """It may stand in any line, and in several. All other numbers of lines are class ids."""
    path = tmp_path / "classes.txt"
    path.write_text("ignore\nsky\nroad\nignore\ncar\n")
    found = read_class_list(path)
    assert (found.names, found.colors) == (("sky", "road", "car"), {})
    numbers = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    expected = [[255, 0, 1], [255, 2, 255]]
    np.testing.assert_array_equal(found.to_class_ids(numbers), expected)
    assert found.notes == ("classes.txt has 'ignore': pixels with the id 0, 3 take no part",)


def test_the_colour_of_ignore_is_that_of_no_class(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("sky 1 2 3\nignore 0 0 0\nroad 4 5 6\nignore 7 7 7\n")
    found = read_class_list(path)
    assert found.names == ("sky", "road")
    assert found.colors == {"sky": (1, 2, 3), "road": (4, 5, 6)}
    assert found.line_colors[1] == (0, 0, 0)
    assert "the colour 0 0 0, 7 7 7 (in masks of ids: the id 1, 3)" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sky 0 0 0\nroad\n", "'road' has no colour, but other lines have; expected NAME RED"),
        ("sky 0 0 0\nroad 0 0 256\n", "'road 0 0 256': expected NAME RED GREEN BLUE, each from 0"),
        ("sky 0 0 0\nroad 0 0 0\n", "'road 0 0 0': this colour occurs twice"),
        ("sky 0 0 0\nsky 0 0 1\n", "'sky 0 0 1': this name occurs twice"),
        ("sky\nsky\n", "'sky' occurs twice"),
        ("ignore 0 0 0\nignore 0 0 0\nsky 1 1 1", "'ignore 0 0 0' occurs twice"),
        ("ignore 0 0 0\nsky 0 0 0", "'sky 0 0 0': this colour occurs twice"),
        ("ignore\nignore", "'ignore' alone, which is no class"),
        ("\n".join(f"class {i}" for i in range(256)), "256 classes; at most 255"),
        ("", "empty; expected class names, one per line"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text, reason):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_class_list(path)
    assert str(error.value).startswith(f"{path}: {reason}")
