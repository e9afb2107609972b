"""MATLAB files that SciPy writes, and one that is written by hand."""

import struct

import numpy as np
import pytest
import scipy.io

from sassn_jax.data.matlab import read_field

SHAPES = [(1, 1), (1, 7), (3, 1), (22, 31)]


def written(tmp_path, tree, **options):
    scipy.io.savemat(tmp_path / "a.mat", tree, **options)
    return (tmp_path / "a.mat").read_bytes()


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_is_found_among_others(tmp_path, shape, is_packed):
    label = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    tree = {
        "before": np.eye(3),
        "GTcls": {"Boundaries": np.ones((2, 2)), "Segmentation": label, "Text": "abcde"},
        "after": label.T,
    }
    content = written(tmp_path, tree, do_compression=is_packed)
    np.testing.assert_array_equal(read_field(content, "GTcls", "Segmentation", 2**20), label)


def test_the_other_order_of_bytes():
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(array_class, shape, *rest):
        head = element(6, struct.pack(">II", array_class, 0)) + element(
            5, struct.pack(">2i", *shape)
        )
        return element(14, head + b"".join(rest))

    label = np.arange(6, dtype=np.uint8).reshape(2, 3)
    matrix = array(9, label.shape, element(1, b""), element(2, label.tobytes("F")))
    length = struct.pack(">HHi", 4, 5, 8)  # a short element: bytes, type, and the data
    struct_ = array(2, (1, 1), element(1, b"S"), length, element(1, b"field\0\0\0"), matrix)
    content = b"text".ljust(124) + b"\x01\x00MI" + struct_
    np.testing.assert_array_equal(read_field(content, "S", "field", 2**20), label)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"GTinst": {"Segmentation": np.eye(3)}}, "no structure GTcls"),
        ({"GTcls": {"Boundaries": np.eye(3)}}, "no field Segmentation"),
        ({"GTcls": {"Segmentation": np.eye(3)}}, "class 6 and shape .* expected one channel"),
        ({"GTcls": {"Segmentation": np.zeros((2, 2, 2), np.uint8)}}, "expected one channel"),
        ({"GTcls": {"Segmentation": np.zeros((0, 2), np.uint8)}}, "no matrix of"),
    ],
)
def test_another_content_is_named(tmp_path, tree, message):
    with pytest.raises(ValueError, match=message):
        read_field(written(tmp_path, tree), "GTcls", "Segmentation", 2**20)


def test_a_part_that_is_cut_short_is_not_read(tmp_path):
    tree = {"GTcls": {"Segmentation": np.zeros((9, 9), np.uint8)}}
    content = written(tmp_path, tree, do_compression=True)
    size = struct.unpack_from("<I", content, 132)[0] - 6  # without the checksum and more
    short = content[:132] + struct.pack("<I", size) + content[136 : 136 + size]
    with pytest.raises(ValueError, match="cut short"):
        read_field(short, "GTcls", "Segmentation", 2**20)


def test_variables_share_the_limit_on_what_they_unpack_to(tmp_path):
    tree = {"a": np.zeros(1000, np.uint8), "GTcls": {"Segmentation": np.zeros((9, 9), np.uint8)}}
    content = written(tmp_path, tree, do_compression=True)
    assert read_field(content, "GTcls", "Segmentation", 1500).shape == (9, 9)
    with pytest.raises(ValueError, match="more than"):
        read_field(content, "GTcls", "Segmentation", 1100)
