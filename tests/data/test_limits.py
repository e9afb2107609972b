"""Files that would fill the memory, and links that lead out of a folder."""

import base64
import json
import re
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import FileLimits, images, voc2012_aug
from sassn_jax.data.annotations import LabelMe
from sassn_jax.data.images import read_bytes, read_image, read_photo
from sassn_jax.data.masks import read_label
from sassn_jax.data.png import check_whole
from sassn_jax.errors import InputError
from sassn_jax.prediction.finding import find_files
from sassn_jax.prediction.images import as_rgb
from tests.data.published_voc import save_mat

BOMB = 13_300  # pixels a side: below what Pillow refuses
LINE = re.compile(
    r"[^\n]*bomb.png: cannot be read as an? \w+ \(13300x13300 pixels are more than "
    r"files.max_pixels=134217728; make it smaller, or set files.max_pixels higher\)"
)


def png(width, height, rows, depth=1):
    """A grey PNG file of the stated size that holds so many bytes of zeros as its rows."""
    packed = zlib.compressobj(1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)),
        (b"IDAT", packed.compress(bytes(rows)) + packed.flush()),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, chunk in chunks:
        checksum = zlib.crc32(kind + chunk)
        content += struct.pack(">I", len(chunk)) + kind + chunk + struct.pack(">I", checksum)
    return content


@pytest.mark.parametrize("read", [read_photo, read_image, read_label, as_rgb])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(BOMB, BOMB, BOMB * (1 + -(-BOMB // 8))))
    with pytest.raises(InputError) as error:
        read(path)
    assert LINE.fullmatch(str(error.value)), error.value
    path.write_bytes(png(20_000, 20_000, 1))
    with pytest.raises(InputError, match="exceeds limit of 178956970 pixels"):
        read(path)


@pytest.mark.parametrize("read", [read_photo, read_image, as_rgb])
def test_the_limit_can_be_chosen(tmp_path, read):
    path = tmp_path / "a.png"
    Image.new("RGB", (30, 20)).save(path)
    read(path, 600)
    with pytest.raises(InputError, match=r"30x20 pixels are more than files.max_pixels=599"):
        read(path, 599)
    with pytest.raises(
        InputError, match=r"^max_pixels=.*: expected a whole number from 1 to 178956"
    ):
        FileLimits(max_pixels=2**40)


def test_a_folder_is_prepared_and_loaded_within_the_limit(source, tmp_path):
    limits = FileLimits(max_pixels=31 * 20)
    with pytest.raises(InputError, match=r"train_1.jpg: .*31x21 pixels") as error:
        data.prepare("folder", source, tmp_path / "data", limits=limits)
    assert len(error.value.details) == 3
    assert "\n" not in str(error.value)
    data.prepare("folder", source, tmp_path / "data")
    train = data.load("folder", tmp_path / "data", limits=limits).splits["train"]
    with pytest.raises(
        InputError, match=r"^image 'train_1' of train: 31x21 pixels are more than files.max_pixels"
    ):
        train[train.ids.index("train_1")]


def test_a_png_file_is_not_unpacked_beyond_its_pixels():
    check_whole(png(30, 20, 20 * 5))
    check_whole(png(30, 20, 2**19))
    with pytest.raises(ValueError, match="holds more than its pixels"):
        check_whole(png(30, 20, 2**22))


def test_a_stencil_of_labelme_is_no_larger_than_its_photo(tmp_path):
    mask = base64.b64encode(png(9000, 9000, 1)).decode()
    shape = {"label": "a", "shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": mask}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": [shape]}))
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.json: .*a mask of more pixels than the image"):
        LabelMe(path).draw(("a",), read_photo(tmp_path / "a.png"))


def test_files_in_an_archive_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "UNPACKED", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**20 + 1))
    with pytest.raises(InputError, match=r"a.png: takes more than 1048576 bytes once"):
        read_bytes(zipfile.Path(tmp_path / "a.zip", "a.png"))


def test_masks_of_sbd_have_a_limit(tmp_path):
    save_mat(tmp_path / "a.mat", np.zeros((1000, 1000), np.uint8))
    assert voc2012_aug.read_sbd_label(tmp_path / "a.mat")[1].shape == (1000, 1000)
    with pytest.raises(InputError, match=r"a.mat: .*more than 400000 bytes once it is unpacked"):
        voc2012_aug.read_sbd_label(tmp_path / "a.mat", max_pixels=100_000)


@pytest.mark.parametrize("place", ["images/val_1.jpg", "labels", "classes.txt"])
def test_links_out_of_a_folder_are_refused_unless_they_are_allowed(source, tmp_path, place):
    elsewhere = tmp_path / "elsewhere"
    (source / place).rename(elsewhere)
    (source / place).symlink_to(elsewhere)
    with pytest.raises(InputError) as error:
        data.prepare("folder", source, tmp_path / "data")
    (named,) = re.findall(
        f"^{source / place}.*: leads out of {source}, to {elsewhere}", str(error.value)
    )
    assert "\n" not in named
    assert "files.follow_links=True" in str(error.value)
    assert data.prepare("folder", source, tmp_path / "data", limits=FileLimits(follow_links=True))


def test_links_within_a_folder_and_to_the_folder_are_followed(source, tmp_path):
    (source / "images" / "val_1.jpg").rename(source / "photo.jpg")
    (source / "images" / "val_1.jpg").symlink_to("../photo.jpg")
    (source / "images" / "again").symlink_to(source / "images")  # a loop
    (tmp_path / "link").symlink_to(source)
    assert data.prepare("folder", tmp_path / "link", tmp_path / "data")


def test_a_published_dataset_may_not_lead_out_of_its_source(tmp_path):
    """The whole source may be a link, and so may the folders in it if that is allowed."""
    outside = tmp_path / "gtFine" / "val" / "lindau" / "lindau_000000_000019_gtFine_labelIds.png"
    outside.parent.mkdir(parents=True)
    outside.touch()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "gtFine").symlink_to(tmp_path / "gtFine")
    inside = tmp_path / "source" / outside.relative_to(tmp_path)
    with pytest.raises(
        InputError, match=rf"^{inside}: leads out of {tmp_path}/source, to {outside}"
    ):
        FileLimits().check_links(tmp_path / "source", [inside])
    FileLimits(follow_links=True).check_links(tmp_path / "source", [inside])


def test_photos_behind_links_out_of_their_folder_are_not_predicted(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    link = tmp_path / "photos" / "a.png"
    link.symlink_to(tmp_path / "a.png")
    for source in (tmp_path / "photos", tmp_path / "photos" / "*.png"):
        with pytest.raises(InputError, match="leads out of"):
            find_files(source, tmp_path / "out")
        limits = FileLimits(follow_links=True)
        assert len(find_files(source, tmp_path / "out", limits=limits)) == 1
    assert len(find_files(link, tmp_path / "out")) == 1  # which somebody named


READ = """
import resource, sys
from pathlib import Path
from sassn_jax.data.images import read_photo
from sassn_jax.data.masks import read_label

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
read_label(path, ((0, 0, 0), (128, 64, 128))) if path.stem == "mask" else read_photo(path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "color"),
    [
        ("photo", "RGBA", (1, 2, 3, 40)),
        ("photo", "I;16", 1),
        ("photo", "RGB", (1, 2, 3)),
        ("mask", "RGB", (128, 64, 128)),
        ("mask", "P", 3),
        ("mask", "I;16", 3),
    ],
)
def test_the_largest_images_take_less_than_2_gib(tmp_path, name, mode, color):
    path = tmp_path / f"{name}.png"
    Image.new(mode, (16384, 8192), color).save(path, compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2**21  # KiB
