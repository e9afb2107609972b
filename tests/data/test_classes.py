import json

import numpy as np
import pytest

from sassn_jax.data import DatasetInfo, describe_classes, parse_classes, read_classes, write_classes
from sassn_jax.errors import InputError

INFO = DatasetInfo("streets", ("road", "sky"), np.array([[1, 2, 3], [0, 0, 255]], np.uint8), 7)


def test_classes_come_back(tmp_path):
    path = tmp_path / "classes.json"
    write_classes(path, INFO)
    info = read_classes(path, "streets")
    assert (info.name, info.class_names, info.ignore_label) == ("streets", ("road", "sky"), 7)
    assert info.palette.dtype == np.uint8
    np.testing.assert_array_equal(info.palette, INFO.palette)
    assert [x.name for x in tmp_path.iterdir()] == ["classes.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["road"]},
        {"names": ["road", 2]},
        {"names": None},
        {"palette": [[1, 2, 3], [0, 0, 256]]},
        {"palette": [[1, 2], [0, 0]]},
        {"palette": [[1, 2, 3], [0]]},
        {"ignore_label": "none"},
    ],
)
def test_anything_else_is_refused(tmp_path, change):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({**describe_classes(INFO), **change}))
    with pytest.raises(InputError, match=r"classes\.json: expected JSON of classes with names"):
        read_classes(path, "streets")


@pytest.mark.parametrize("content", ["", "[]", "{}", "\xff"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"classes\.json: expected JSON of classes"):
        read_classes(path, "streets")
    with pytest.raises(InputError, match=r"model\.safetensors: expected JSON of classes"):
        parse_classes("streets", content, "model.safetensors")
