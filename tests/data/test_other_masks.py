"""Masks as TIFF and BMP; the tests write them byte by byte, or by Pillow."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.folder import read_layout
from sassn_jax.data.masks import decode_label, has_palette, read_label
from sassn_jax.errors import InputError

HEIGHT, WIDTH = 5, 7  # a row of 1 or 4 bits ends within a byte
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # TIFF 6.0, PhotometricInterpretation
INTEGERS, FLOATS = 1, 3  # TIFF 6.0, SampleFormat


def ids(largest: int) -> np.ndarray:
    label = np.random.default_rng(1).integers(0, largest + 1, (HEIGHT, WIDTH))
    label[0, :2] = 0, largest
    return label


def packed(label: np.ndarray, bits: int, order: str, kind: int = INTEGERS) -> bytes:
    """Returns rows of numbers of 1, 4, 8, 16 or 32 bits, each row filled up to whole bytes."""
    if bits >= 8:
        return label.astype(f"{order}{'f' if kind == FLOATS else 'u'}{bits // 8}").tobytes()
    single = (label[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(single.reshape(len(label), -1).astype(np.uint8), axis=1).tobytes()


def tiff(label, bits, photometric=BLACK_IS_ZERO, order="<", kind=INTEGERS) -> bytes:
    """Writes an uncompressed TIFF file of one strip, without Pillow."""
    data = packed(label, bits, order, kind)
    colors = np.random.default_rng(0).integers(0, 2**16, 3 * 2**bits) if bits <= 8 else []
    table = np.asarray(colors, f"{order}u2").tobytes()
    height, width = label.shape
    strip, palette = 8, 8 + len(data) + len(data) % 2
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1),
               (262, 3, 1, photometric), (273, 4, 1, strip), (277, 3, 1, 1), (278, 3, 1, height),
               (279, 4, 1, len(data))]  # fmt: skip
    if photometric == PALETTE:
        entries.append((320, 3, len(colors), palette))
    entries.append((339, 3, 1, kind))
    start = palette + len(table)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, size, count, value in entries:
        short = size == 3 and count == 1
        directory += struct.pack(f"{order}HHI", tag, size, count)
        directory += struct.pack(f"{order}HH" if short else f"{order}I", *[value, 0][: 1 + short])
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", start)
    return head + data + b"\0" * (len(data) % 2) + table + directory + b"\0" * 4


def bmp(label: np.ndarray, bits: int, colors: np.ndarray) -> bytes:
    """Writes an uncompressed BMP file with a palette, without Pillow."""
    rows = packed(label[::-1], bits, "<")  # the lowest row comes first
    stride = len(rows) // len(label)
    padded = b"".join(
        rows[i : i + stride] + b"\0" * (-stride % 4) for i in range(0, len(rows), stride)
    )
    table = b"".join(bytes([blue, green, red, 0]) for red, green, blue in colors.tolist())
    height, width = label.shape
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(padded), 0, 0,
                       len(colors), 0)  # fmt: skip
    offset = 14 + len(head) + len(table)
    start = b"BM" + struct.pack("<IHHI", offset + len(padded), 0, 0, offset)
    return start + head + table + padded


def grey(*values: int) -> np.ndarray:
    return np.repeat(np.array(values)[:, None], 3, axis=1)


def read(path, content: bytes) -> np.ndarray:
    """Reads a mask and checks that the returned PNG file has the same pixels."""
    path.write_bytes(content)
    kept, label = read_label(path)
    with Image.open(io.BytesIO(kept), formats=["PNG"]) as image:
        np.testing.assert_array_equal(decode_label(image), label)
    assert label.dtype == np.uint8
    return label


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "largest", "photometric", "kind"),
    [
        (1, 1, BLACK_IS_ZERO, INTEGERS),
        (4, 15, BLACK_IS_ZERO, INTEGERS),
        (8, 255, BLACK_IS_ZERO, INTEGERS),
        (16, 255, BLACK_IS_ZERO, INTEGERS),
        (32, 255, BLACK_IS_ZERO, FLOATS),
        (4, 15, PALETTE, INTEGERS),
        (8, 255, PALETTE, INTEGERS),
    ],
)
def test_ids_in_tiff_are_as_they_are_stored(tmp_path, bits, largest, photometric, kind, order):
    label, path = ids(largest), tmp_path / "mask.tif"
    found = read(path, tiff(label, bits, photometric, order, kind))
    np.testing.assert_array_equal(found, label)
    assert has_palette(path) == (photometric == PALETTE)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    file = io.BytesIO()
    Image.fromarray(ids(255).astype(np.uint8)).save(file, "TIFF", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "mask.tiff", file.getvalue()), ids(255))


def test_a_tiff_with_an_orientation_is_turned(tmp_path):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ids(9).astype(np.uint8)).save(file, "TIFF", exif=exif)
    np.testing.assert_array_equal(
        read(tmp_path / "mask.tif", file.getvalue()), np.rot90(ids(9), -1)
    )


@pytest.mark.parametrize(
    ("bits", "largest", "colors"),
    [
        (1, 1, grey(0, 255)),
        (1, 1, grey(9, 7)),
        (4, 15, np.arange(48).reshape(16, 3)),
        (8, 255, grey(*range(256))),
        (8, 255, grey(*range(255, -1, -1))),
        (8, 3, np.arange(12).reshape(4, 3)),
    ],
)
def test_ids_in_bmp_are_as_they_are_stored(tmp_path, bits, largest, colors):
    found = read(tmp_path / "mask.bmp", bmp(ids(largest), bits, colors))
    np.testing.assert_array_equal(found, ids(largest))


def test_ids_in_equal_channels_of_bmp(tmp_path):
    file = io.BytesIO()
    label = ids(255).astype(np.uint8)
    Image.fromarray(np.stack([label] * 3, axis=-1)).save(file, "BMP")
    np.testing.assert_array_equal(read(tmp_path / "mask.bmp", file.getvalue()), label)


def jpeg_in_tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(ids(255).astype(np.uint8)).save(file, "TIFF", compression="jpeg")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(ids(300), 16), "has the class id 300; expected whole numbers from 0 to 255"),
        (tiff(ids(3) + 0.5, 32, kind=FLOATS), r"has the class id 3\.5; expected whole numbers"),
        (tiff(ids(3) * np.nan, 32, kind=FLOATS), "has the class id nan; expected whole numbers"),
        (tiff(ids(255), 8)[:40], ""),
        (bmp(ids(255), 8, grey(*range(256)))[:-9], ""),
        (jpeg_in_tiff(), "a TIFF file with JPEG compression, which changes class ids"),
        (bmp(ids(1), 8, grey(0, 255)), "a BMP file with a short palette of grey values"),
        (bmp(ids(15), 4, grey(*range(16))), "a BMP file with a short palette of grey values"),
    ],
)
def test_what_holds_no_ids_is_refused(tmp_path, content, reason):
    with pytest.raises(InputError, match=rf"mask.any: cannot be read as a mask \(.*{reason}"):
        read(tmp_path / "mask.any", content)


def test_a_folder_with_masks_of_several_formats(source):
    for split, id_, ending in (("train", "train_0", ".tif"), ("val", "val_0", ".BMP")):
        _, expected = read_layout(source).read(split, id_)
        path = source / "labels" / f"{id_}.png"
        with Image.open(path) as image:
            image.save(path.with_suffix(ending))
        path.unlink()
        _, found = read_layout(source).read(split, id_)
        assert pixels(found) == pixels(expected)
    with Image.open(source / "labels" / "val_0.BMP") as image:
        image.save(source / "labels" / "val_0.tif")
    with pytest.raises(InputError, match=r"labels: val_0.BMP and val_0.tif have the same id"):
        read_layout(source)


def pixels(content: bytes) -> list[list[int]]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).tolist()


def test_the_palette_of_a_large_mask_is_seen_without_a_warning(tmp_path, monkeypatch):
    mask = Image.new("P", (12, 10))
    mask.putpalette([1, 2, 3])
    mask.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns of more
    assert has_palette(tmp_path / "a.png")
