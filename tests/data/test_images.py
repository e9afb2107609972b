"""Images of users, including kinds that no published dataset has."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.images import (
    encode_png,
    orientation,
    read_bytes,
    read_image,
)
from sassn_jax.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 8\n%%EndComments\nshowpage\n%%EOF\n"


def encode(format_, pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("e.jpg", EPS, "not a JPEG file"),
        ("e.png", EPS, "not a PNG file"),
        ("t.png", encode("TIFF"), "not a PNG file"),
        ("p.jpg", encode("PNG"), "not a JPEG file"),
        ("empty.png", b"", "the file is empty"),
        ("wide.png", encode("PNG", PIXELS[..., 0].astype(np.uint16) * 257), "expected channels of"),
    ],
)
def test_an_image_is_what_its_name_says(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: cannot be read as an image (")
    assert reason in str(error.value)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("turn", [1, 3, 6])
def test_pixels_are_as_they_are_stored_whatever_exif_says(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "turned.png"
    path.write_bytes(encode("PNG", exif=exif))
    content, pixels = read_image(path)
    assert content == path.read_bytes()
    assert orientation(content) == turn
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize("value", [None, 0, 9])
def test_an_orientation_that_is_none_is_1(value):
    exif = Image.Exif()
    if value is not None:
        exif[0x0112] = value
    assert orientation(encode("JPEG", exif=exif)) == 1
    assert orientation(b"no image") == 1


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [("method", 9, "compression method"), ("flags", 1, "encrypted")],
)
def test_a_file_that_zipfile_cannot_unpack_is_named(tmp_path, place, value, reason):
    """Windows packs large archives by Deflate64, method 9."""
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.png", encode_png(PIXELS))
    content = bytearray(archive.read_bytes())
    # The header of the file, and its entry in the directory at the end, two bytes later.
    for start, offset in ((content.index(b"PK\x03\x04"), 0), (content.index(b"PK\x01\x02"), 2)):
        content[start + offset + {"flags": 6, "method": 8}[place]] = value
    archive.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_bytes(zipfile.Path(archive, "one.png"))
    assert str(error.value).startswith(f"{archive}/one.png: cannot be unpacked (")
    assert reason in str(error.value)


def test_a_name_in_another_encoding_than_it_claims_is_named(tmp_path):
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.png", encode_png(PIXELS))
    content = bytearray(archive.read_bytes())
    start = content.index(b"PK\x03\x04")
    content[start + 7] |= 0x08  # the name in the file's own header is in UTF-8,
    content[start + 30] = 0xFF  # which has no such byte
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"one\.png: cannot be unpacked"):
        read_bytes(zipfile.Path(archive, "one.png"))
