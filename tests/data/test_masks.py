"""Masks of every kind of PNG; the tests write them byte by byte."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.masks import check_label, decode_label, read_label
from sassn_jax.errors import InputError

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of the PNG standard
HEIGHT, WIDTH = 5, 7  # a row of 1, 2 or 4 bits ends within a byte


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def png(samples: np.ndarray, color_type: int, depth: int, interlaced: bool = False) -> bytes:
    """Writes samples `[H, W]` or `[H, W, channels]` as a PNG file, without Pillow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    def rows(part: np.ndarray) -> bytes:
        if not part.size:
            return b""
        values = part.reshape(len(part), -1).astype(np.uint16)
        bits = (values[..., None] >> np.arange(depth - 1, -1, -1, dtype=np.uint16)) & 1
        packed = np.packbits(bits.reshape(len(part), -1).astype(np.uint8), axis=1)
        return b"".join(b"\0" + row.tobytes() for row in packed)

    height, width = samples.shape[:2]
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    unfiltered = b"".join(rows(samples[y::down, x::across]) for x, y, across, down in passes)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    colors = np.random.default_rng(0).integers(0, 256, (2 ** min(depth, 8), 3), np.uint8).tobytes()
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"PLTE", colors) if color_type == PALETTE else b"",
            chunk(b"IDAT", zlib.compress(unfiltered)),
            chunk(b"IEND", b""),
        ]
    )


def ids(largest: int) -> np.ndarray:
    label = np.random.default_rng(1).integers(0, largest + 1, (HEIGHT, WIDTH))
    label[0, :2] = 0, largest
    return label


def read(tmp_path, content: bytes, colors=()) -> np.ndarray:
    """Reads a mask and checks that the returned file has the same pixels."""
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    kept, label = read_label(path, colors)
    with Image.open(io.BytesIO(kept)) as image:
        np.testing.assert_array_equal(decode_label(image), label)
    assert label.dtype == np.uint8
    return label


@pytest.mark.parametrize(
    ("color_type", "depth", "largest"),
    [
        (GREY, 1, 1),
        (GREY, 2, 3),
        (GREY, 4, 15),
        (GREY, 8, 255),
        (GREY, 16, 255),
        (PALETTE, 1, 1),
        (PALETTE, 2, 3),
        (PALETTE, 4, 15),
        (PALETTE, 8, 255),
    ],
)
def test_ids_are_as_they_are_stored(tmp_path, color_type, depth, largest):
    label = ids(largest)
    np.testing.assert_array_equal(read(tmp_path, png(label, color_type, depth)), label)


@pytest.mark.parametrize("color_type", [RGB, GREY_ALPHA, RGBA])
def test_ids_in_several_equal_channels(tmp_path, color_type):
    label = ids(255)
    colors = 1 if color_type == GREY_ALPHA else 3
    channels = [label] * colors + [np.full_like(label, 255)] * (color_type != RGB)
    np.testing.assert_array_equal(
        read(tmp_path, png(np.stack(channels, axis=-1), color_type, 8)), label
    )


@pytest.mark.parametrize(
    ("color_type", "depth", "largest", "transparent"),
    [
        (GREY, 1, 1, b"\0\1"),
        (GREY, 8, 255, b"\0\2"),
        (PALETTE, 4, 15, b"\0\x80"),
        (PALETTE, 8, 255, b"\0"),
    ],
)
def test_a_transparent_colour_changes_nothing(tmp_path, color_type, depth, largest, transparent):
    label = ids(largest)
    content = png(label, color_type, depth)
    chunk = struct.pack(">I", len(transparent)) + b"tRNS" + transparent
    chunk += struct.pack(">I", zlib.crc32(b"tRNS" + transparent))
    before = content.index(b"IDAT") - 4
    content = content[:before] + chunk + content[before:]
    np.testing.assert_array_equal(read(tmp_path, content), label)


def changed(array: np.ndarray, where: tuple[int, ...], value: int) -> np.ndarray:
    array = array.copy()
    array[where] = value
    return array


OPAQUE = np.full((HEIGHT, WIDTH, 4), 255)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(changed(ids(255), (2, 3), 256), GREY, 16), "has the class id 256; expected whole"),
        (png(changed(OPAQUE[..., :3], (2, 3, 0), 128), RGB, 8), r"such as \(128, 255, 255\)"),
        (png(changed(OPAQUE, (2, 3, 2), 7), RGBA, 8), r"has colours, such as \(255, 255, 7\)"),
        (png(changed(OPAQUE, (2, 3, 3), 254), RGBA, 8), "has transparent pixels"),
        (png(changed(OPAQUE[..., :2], (2, 3, 1), 0), GREY_ALPHA, 8), "has transparent pixels"),
        (png(OPAQUE[..., :3], RGB, 16), "several channels of 16 bits"),
        (png(OPAQUE[..., :2], GREY_ALPHA, 16), "several channels of 16 bits"),
        (png(OPAQUE, RGBA, 16), "several channels of 16 bits"),
    ],
)
def test_what_holds_no_ids_is_refused(tmp_path, content, reason):
    with pytest.raises(InputError, match=rf"mask.png: cannot be read as a mask \(.*{reason}"):
        read(tmp_path, content)


def test_a_file_with_something_before_its_header_is_refused(tmp_path):
    """If the header is not in its place, other bytes would be read as the bit depth."""
    content = png(ids(3), GREY, 2)
    text = b"\x00\x00\x00\x00tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))
    with pytest.raises(InputError, match="cannot be read as a mask"):
        read(tmp_path, content[:8] + text + content[8:])


def test_no_damaged_bit_goes_unnoticed(tmp_path):
    """Pillow does not check the checksums of pixels."""
    content = png(ids(20), GREY, 8)
    start = content.index(b"IDAT") + 4
    for position in range(start, len(content) - 16):
        damaged = bytearray(content)
        damaged[position] ^= 16
        with pytest.raises(InputError, match="cannot be read as a mask"):
            read(tmp_path, bytes(damaged))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 9), (9, 33)])
@pytest.mark.parametrize(("color_type", "depth"), [(GREY, 1), (GREY, 4), (PALETTE, 2), (GREY, 8)])
def test_interlaced_masks(tmp_path, size, color_type, depth):
    label = np.random.default_rng(2).integers(0, 2, size)
    content = png(label, color_type, depth, interlaced=True)
    np.testing.assert_array_equal(read(tmp_path, content), label)


def test_pixels_that_are_missing_are_noticed(tmp_path):
    """Pillow fills missing pixels with 0, which is a class."""
    whole, half = (png(ids(20)[:rows], GREY, 8) for rows in (HEIGHT, 2))
    shortened = whole[: whole.index(b"IDAT") - 4] + half[half.index(b"IDAT") - 4 :]
    with pytest.raises(InputError, match="cannot be read as a mask"):
        read(tmp_path, shortened)
    with pytest.raises(InputError, match="cannot be read as a mask"):
        read(tmp_path, whole[:33] + whole[8:])  # a second header


def test_a_mask_of_a_format_that_is_not_read(tmp_path):
    file = io.BytesIO()
    Image.fromarray(ids(3).astype(np.uint8)).save(file, "WEBP", lossless=True)
    with pytest.raises(InputError, match="not a PNG, TIFF or BMP file"):
        read(tmp_path, file.getvalue())


def test_a_jpeg_by_another_name_is_told_apart(tmp_path):
    file = io.BytesIO()
    Image.fromarray(ids(3).astype(np.uint8)).save(file, "JPEG")
    with pytest.raises(InputError, match=r"a JPEG file: JPEG changes class ids, .* export .* PNG"):
        read(tmp_path, file.getvalue())


def check(label, size=(4, 6), num_ids=3):
    image = np.zeros((*size, 3), np.uint8)
    check_label(Path("masks/m.png"), np.asarray(label, np.uint8), image, num_ids)


def test_ids_that_begin_at_one_are_said_to():
    label = np.ones((4, 6), np.uint8)
    label[0], label[3, 5] = 2, 255
    check(label)
    label[1] = 3
    with pytest.raises(InputError) as error:
        check(label)
    assert str(error.value) == (
        "masks/m.png: class id 3; expected 0 to 2 or 255 (ignore); the ids seem to begin at 1, so "
        "subtract 1 from each (6 of 24 pixels)"
    )
    label[2] = 0
    with pytest.raises(InputError, match="correct the mask or the classes"):
        check(label)


def test_smoothed_edges_are_named():
    label = np.zeros((4, 6), np.uint8)
    label[:, 3:] = 255
    label[0, 1:5] = 31, 96, 160, 220
    with pytest.raises(InputError, match=r"class id 31; .* the edges seem to be smoothed between"):
        check(label, num_ids=2)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ([1, 2, 3], "the ids seem to begin at 1, so subtract 1 from each"),
        ([0, 127, 254], "the ids seem to be spread over the grey values: export the ids"),
        ([0, 128, 255], "the ids seem to be spread over the grey values: export the ids"),
        ([0, 31, 96, 160, 255], "the edges seem to be smoothed between classes"),
        ([0, 1, 2, 3, 4], "the list of classes seems to be too short"),
        ([0, 1, 77], "correct the mask or the classes"),
    ],
)
def test_the_likeliest_cause_of_wrong_ids_is_named(values, cause):
    label = np.resize(np.array(values, np.uint8), (4, 6))
    wrong = int(((label > 2) & (label < 255)).sum())
    with pytest.raises(InputError, match=rf"m.png: class id \d+; .*{cause}.* \({wrong} of 24 pix"):
        check(label)


def test_a_mask_has_the_size_of_its_image():
    with pytest.raises(InputError, match=r"6x5 pixels, but its image has 6x4; expected the same"):
        check(np.zeros((5, 6)))


COLORS = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (255, 255, 255))


def colored(label: np.ndarray) -> np.ndarray:
    return np.array(COLORS, np.uint8)[label]


@pytest.mark.parametrize("color_type", [RGB, RGBA])
@pytest.mark.parametrize("largest", [0, 3])
def test_colours_of_classes_are_read(tmp_path, color_type, largest):
    label = ids(largest)
    channels = np.dstack([colored(label), np.full(label.shape, 255)])[
        ..., : 3 + (color_type == RGBA)
    ]
    np.testing.assert_array_equal(read(tmp_path, png(channels, color_type, 8), COLORS), label)


def test_a_palette_is_read_by_its_colours_if_all_are_of_classes(tmp_path):
    """A program that reduces the colours numbers them as it likes."""
    label = ids(3)
    file = io.BytesIO()
    Image.fromarray(colored(label)).quantize(4).save(file, "PNG")
    with Image.open(file) as image:
        assert (np.asarray(image) != label).any()
    np.testing.assert_array_equal(read(tmp_path, file.getvalue(), COLORS), label)
    others = png(label, PALETTE, 8)  # of random colours
    np.testing.assert_array_equal(read(tmp_path, others, COLORS), label)


def test_grey_masks_hold_ids_whatever_the_colours(tmp_path):
    label = ids(3)
    np.testing.assert_array_equal(read(tmp_path, png(label, GREY, 8), COLORS), label)
    equal = np.stack([label] * 3, -1)
    np.testing.assert_array_equal(read(tmp_path, png(equal, RGB, 8), COLORS), label)


def test_colours_of_no_class_are_counted(tmp_path):
    channels = colored(ids(3))
    channels[1, :3] = 7, 8, 9
    with pytest.raises(InputError) as error:
        read(tmp_path, png(channels, RGB, 8), COLORS)
    assert "(3 of 35 pixels have a colour that classes.txt lacks, most often 7 8 9; add" in str(
        error.value
    )
    channels[2] += np.arange(1, 8, dtype=np.uint8)[:, None]
    with pytest.raises(InputError, match="the edges seem to be smoothed between classes"):
        read(tmp_path, png(channels, RGB, 8), COLORS)
