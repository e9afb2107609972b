"""classes.txt, with and without colours."""

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
    assert read_class_list(path) == (names, dict(zip(names, colors, strict=False)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sky 0 0 0\nroad\n", "'road' has no colour, but other lines have; expected NAME RED"),
        ("sky 0 0 0\nroad 0 0 256\n", "'road 0 0 256': expected NAME RED GREEN BLUE, each from 0"),
        ("sky 0 0 0\nroad 0 0 0\n", "'road 0 0 0': this colour occurs twice"),
        ("sky 0 0 0\nsky 0 0 1\n", "'sky 0 0 1': this name occurs twice"),
        ("sky\nsky\n", "'sky' occurs twice"),
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
