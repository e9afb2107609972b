"""Photos of every kind, as people have them in folders, and masks that lie on turned photos."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.images import decode_image, photo_notes, read_photo
from sassn_jax.data.masks import as_shown, read_label
from sassn_jax.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
GREY = RGB[..., 0]
PALETTE = Image.fromarray(RGB).quantize(16)
# Where a viewer shows the pixel of row 0 and column 0 of the file, and whether sides are exchanged.
SHOWN = {
    1: ("top", "left", False),
    2: ("top", "right", False),
    3: ("bottom", "right", False),
    4: ("bottom", "left", False),
    5: ("top", "left", True),
    6: ("top", "right", True),
    7: ("bottom", "right", True),
    8: ("bottom", "left", True),
}


def upright(stored: np.ndarray, turn: int) -> np.ndarray:
    """Turns an image as the EXIF standard says in words, independently of Pillow."""
    row, column, exchanged = SHOWN[turn]
    shown = stored.swapaxes(0, 1) if exchanged else stored
    shown = shown[::-1] if row == "bottom" else shown
    return shown[:, ::-1] if column == "right" else shown


def save(path: Path, image, format_=None, turn=1, **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    exif = Image.Exif()
    if turn != 1:
        exif[0x0112] = turn
    image.save(path, format_, exif=exif, **options)
    return path


def check(path: Path, expected: np.ndarray) -> bytes:
    """Checks the pixels of a photo, and that a reader of records gets the same."""
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.pixels, expected)
    with Image.open(io.BytesIO(photo.content), formats=["JPEG", "PNG"]) as image:
        assert image.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(decode_image(image), expected)
    return photo.content


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "a.webp", "a.tif", "a.TIFF", "a.bmp"])
def test_lossless_formats(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    check(save(tmp_path / name, RGB, **options), RGB)
    check(save(tmp_path / name, GREY, **options), np.stack([GREY] * 3, -1))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png"])
@pytest.mark.parametrize("pixels", [RGB, GREY])
def test_what_records_can_hold_is_kept_as_it_is(tmp_path, name, pixels):
    path = save(tmp_path / name, pixels)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert check(path, expected) == path.read_bytes()


def test_the_ending_of_a_name_need_not_be_that_of_the_format(tmp_path):
    check(save(tmp_path / "a.jpg", RGB, "WEBP", lossless=True), RGB)
    check(save(tmp_path / "b.webp", RGB, "PNG"), RGB)


def test_transparent_pixels_are_read_on_white(tmp_path):
    alpha = RNG.integers(0, 256, GREY.shape, np.uint8)
    alpha[0, :2] = 0, 255
    share = alpha[..., None] / 255

    def on_white(pixels):
        return pixels * share + 255 * (1 - share)

    rgba = save(tmp_path / "rgba.png", np.dstack([RGB, alpha]))
    la = save(tmp_path / "la.png", np.dstack([GREY, alpha]))
    for path, opaque in ((rgba, RGB), (la, np.stack([GREY] * 3, -1))):
        pixels = read_photo(path).pixels
        assert np.abs(pixels - on_white(opaque)).max() <= 1  # rounded by Pillow
        np.testing.assert_array_equal(pixels[0, :2], [[255] * 3, opaque[0, 1]])
        check(path, pixels)
    path = save(tmp_path / "p.png", PALETTE, transparency=3)
    indices = np.asarray(PALETTE)
    expected = np.where(indices[..., None] == 3, 255, np.asarray(PALETTE.convert("RGB")))
    check(path, expected)


def test_palettes_bits_and_cmyk(tmp_path):
    check(save(tmp_path / "p.png", PALETTE), np.asarray(PALETTE.convert("RGB")))
    bits = GREY > 127
    for name in ("one.png", "one.tiff", "one.bmp"):
        check(save(tmp_path / name, bits), np.repeat(bits[..., None] * np.uint8(255), 3, -1))
    ink = Image.fromarray(RGB).convert("CMYK")
    check(save(tmp_path / "cmyk.tif", ink), RGB)
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # as JPEG, inverted as Adobe does it
    check(save(tmp_path / "red.jpg", red), np.full((16, 16, 3), (255, 0, 0)))


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_grey_values_of_16_bits_are_scaled_by_their_own_range(tmp_path, name):
    values = np.array([[1000, 1000, 3000], [2000, 5000, 1020]], np.uint16)
    expected = np.array([[0, 0, 128], [64, 255, 1]], np.uint8)  # 127.5 and 63.75 are rounded
    check(save(tmp_path / name, values), np.stack([expected] * 3, -1))
    check(save(tmp_path / name, np.full((2, 2), 700, np.uint16)), np.zeros((2, 2, 3)))


def test_floats(tmp_path):
    values = np.array([[-1.0, 0.0, 1.0]], np.float32)
    check(save(tmp_path / "f.tiff", values), np.repeat([[[0], [128], [255]]], 3, -1))
    path = save(tmp_path / "n.tiff", np.array([[np.nan, 1.0]], np.float32))
    with pytest.raises(InputError, match=r"n.tiff: .*\(has values that are not finite"):
        read_photo(path)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff"])
def test_a_photo_is_turned_as_exif_says(tmp_path, name, turn):
    options = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path / name, RGB, turn=turn, **options)
    check(path, upright(RGB, turn))
    assert read_photo(path).turn == turn


def test_a_jpeg_is_turned_without_a_loss(tmp_path):
    path = save(tmp_path / "a.jpg", RGB, turn=6)
    with Image.open(path) as image:
        stored = np.asarray(image)
    check(path, upright(stored, 6))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_mask_lies_on_the_photo_as_it_is_shown(tmp_path, turn):
    photo = read_photo(save(tmp_path / "a.png", RGB, turn=turn))
    path = tmp_path / "mask.png"
    stored = RNG.integers(0, 5, GREY.shape).astype(np.uint8)
    shown = upright(stored, turn)
    # Drawn on what is shown.
    _, label = read_label(save(path, shown))
    np.testing.assert_array_equal(as_shown(path, label, photo), shown)
    # Drawn on the stored pixels, which can be told only where the sizes differ.
    _, label = read_label(save(path, stored))
    expected = shown if turn >= 5 else stored
    np.testing.assert_array_equal(as_shown(path, label, photo), expected)
    # The mask's own file says how it is to be turned.
    kept, label = read_label(save(path, stored, turn=turn))
    np.testing.assert_array_equal(as_shown(path, label, photo), shown)
    with Image.open(io.BytesIO(kept)) as image:
        np.testing.assert_array_equal(np.asarray(image), shown)


@pytest.mark.parametrize("turn", [1, 3, 6])
def test_a_mask_of_neither_size_is_refused_and_exif_named(tmp_path, turn):
    photo = read_photo(save(tmp_path / "a.png", RGB, turn=turn))
    with pytest.raises(InputError) as error:
        as_shown(Path("m.png"), np.zeros((5, 9), np.uint8), photo)
    assert str(error.value) == (
        "m.png: 9x5 pixels, but its image has 6x9 as its EXIF orientation 6 shows it, 9x6 as "
        "stored; expected one of these sizes"
        if turn == 6
        else "m.png: 9x5 pixels, but its image has 9x6; expected the same width x height"
    )
    if turn != 6:
        with pytest.raises(InputError, match="6x9 pixels, but its image has 9x6;"):
            as_shown(Path("m.png"), np.zeros((9, 6), np.uint8), photo)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "not a JPEG, PNG, WEBP, TIFF or BMP file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 8\n", "not a JPEG, PNG, WEBP, TIFF"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "not a JPEG, PNG, WEBP, TIFF or BMP file"),
    ],
)
def test_what_is_no_photo_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{path}: cannot be read as an image ({reason}")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.bmp"])
def test_a_photo_that_is_cut_off_is_refused(tmp_path, name):
    path = save(tmp_path / name, np.resize(RNG.integers(0, 256, 7000, np.uint8), (40, 50, 3)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: cannot be read as an image \(") as error:
        read_photo(path)
    assert "\n" not in str(error.value)


def test_what_is_changed_is_said_once(tmp_path):
    plain = save(tmp_path / "plain.jpg", RGB)
    paths = [
        plain,
        save(tmp_path / "la.png", np.dstack([GREY, GREY])),
        save(tmp_path / "rgba.png", np.dstack([RGB, GREY])),
        save(tmp_path / "deep.png", GREY.astype(np.uint16)),
        save(tmp_path / "turned.jpg", RGB, turn=3),
        tmp_path / "missing.png",
    ]
    assert photo_notes({"plain": plain}) == ()
    assert photo_notes({f"a/{path.name}": path for path in paths}) == (
        "images with an EXIF orientation: they are turned as it says (1, such as a/turned.jpg)",
        "images with grey values of more than 8 bits: in each, its smallest value is read as 0 "
        "and its largest as 255 (1, such as a/deep.png)",
        "images with transparent pixels: they are read on white (2, such as a/la.png)",
    )
