"""Cityscapes, from small folders in the published layout."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import cityscapes
from sassn_jax.errors import InputError
from tests.data import published_cityscapes
from tests.data.published_cityscapes import (
    CITIES,
    IDS,
    IMAGE,
    LABEL,
    image_of,
    label_of,
    path_of,
)
from tests.data.sources import litter

# Train ids by label id, from the scripts of Cityscapes.
TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11}
TRAIN_IDS |= {25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(cityscapes, "IMAGE_SIZE", (8, 16))
    monkeypatch.setattr(cityscapes, "CITIES", CITIES)
    root = tmp_path / "source"
    published_cityscapes.write(root)
    return root


@pytest.fixture
def zipped(source):
    """Moves the same files into the two archives."""
    for name in ("leftImg8bit", "gtFine"):
        paths = sorted((source / name).rglob("*"))
        with zipfile.ZipFile(source / f"{name}_trainvaltest.zip", "w") as archive:
            archive.writestr("license.txt", "a license")
            for path in filter(lambda path: path.is_file(), paths):
                archive.write(path, path.relative_to(source))
        (source / name).rename(source.parent / name)
    return source


def check(data_dir, name):
    dataset = data.load(name, data_dir)
    assert {name: tuple(split.ids) for name, split in dataset.splits.items()} == IDS
    lookup = np.array([TRAIN_IDS.get(i, 255) for i in range(34)])
    for split in dataset.splits.values():
        for i, id_ in enumerate(split.ids):
            one, image, label = split[i], image_of(id_), lookup[label_of(id_)]
            assert one["id"] == id_
            if name == "cityscapes":
                assert (one["image"] == image).all()
                assert (one["label"] == label).all()
            else:
                mean = image.reshape(4, 2, 8, 2, 3).astype(float).mean((1, 3))
                assert np.abs(one["image"] - mean).max() <= 0.5
                assert one["image"].mean() == pytest.approx(mean.mean(), abs=0.3)
                nearest = Image.fromarray(label.astype(np.uint8)).resize((8, 4), Image.NEAREST)
                assert (one["label"] == np.asarray(nearest)).all()


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes_512x1024"])
def test_images_are_those_published_and_masks_are_of_train_ids(source, tmp_path, name, capfd):
    steps = []
    write = lambda *step: steps.append(step)  # noqa: E731
    assert data.prepare(name, source, tmp_path / "data", write)
    assert steps == [(i, 4) for i in range(1, 5)]
    check(tmp_path / "data", name)
    assert not data.prepare(name, source, tmp_path / "data")
    assert capfd.readouterr() == ("", "")


def test_what_systems_leave_in_folders_is_passed_over(source, tmp_path):
    for name in ("leftImg8bit", "gtFine"):
        litter(source / name)
        for split in CITIES:
            (source / name / split / "__MACOSX").mkdir()
    data.prepare("cityscapes", source, tmp_path / "data")
    check(tmp_path / "data", "cityscapes")


def test_archives_are_read_as_they_are(zipped, tmp_path):
    before = sorted(zipped.iterdir())
    for name in cityscapes.VARIANTS:
        assert data.prepare(name, zipped, tmp_path / "data")
    for name in cityscapes.VARIANTS:
        check(tmp_path / "data", name)
    assert sorted(zipped.iterdir()) == before


def test_the_published_numbers_and_sizes():
    counts = {split: sum(cities.values()) for split, cities in cityscapes.CITIES.items()}
    assert counts == {"train": 2975, "val": 500}
    assert cityscapes.IMAGE_SIZE == (1024, 2048)
    assert dict(cityscapes.VARIANTS) == {"cityscapes": 1, "cityscapes_512x1024": 2}


def test_classes_and_colours_are_those_of_cityscapes(source, tmp_path):
    data.prepare("cityscapes", source, tmp_path)
    info = data.load("cityscapes", tmp_path).info
    assert info.num_classes == 19
    assert (info.class_names[0], info.class_names[11]) == ("road", "person")
    assert (info.class_names[16], info.class_names[18]) == ("train", "bicycle")
    assert info.palette[[0, 10, 13, 18]].tolist() == [
        [128, 64, 128],
        [70, 130, 180],
        [0, 0, 142],
        [119, 11, 32],
    ]
    assert len(np.unique(info.palette, axis=0)) == 19


FIRST, SECOND = IDS["train"][:2]
FIRST_IMAGE = path_of(IMAGE, "train", FIRST)
FIRST_LABEL = path_of(LABEL, "train", FIRST) + "labelIds.png"


def no_mask(root):
    (root / FIRST_LABEL).unlink()
    return FIRST_IMAGE


def no_image(root):
    (root / FIRST_IMAGE).unlink()
    return FIRST_LABEL


def neither(root):
    (root / FIRST_IMAGE).unlink()
    (root / FIRST_LABEL).unlink()
    return "leftImg8bit/train/aachen"


def additional_file(root):
    path = "leftImg8bit/train/aachen/aachen_000000_000019.png"
    (root / path).write_bytes((root / FIRST_IMAGE).read_bytes())
    return path


def image_of_another_city(root):
    path = "leftImg8bit/train/aachen/ulm_000000_000019_leftImg8bit.png"
    (root / path).write_bytes((root / FIRST_IMAGE).read_bytes())
    return path


def additional_city(root):
    (root / "leftImg8bit/train/bonn").mkdir()
    return "leftImg8bit/train/bonn"


def no_city(root):
    (root / "leftImg8bit/train/ulm").rename(root / "ulm")
    (root / "gtFine/train/ulm").rename(root / "ulm_masks")
    return "leftImg8bit/train/ulm"


def no_masks(root):
    (root / "gtFine").rename(root / "gtCoarse")
    return "gtFine"


def no_val(root):
    (root / "gtFine/val").rename(root / "val")
    return "gtFine/val"


def truncated_image(root):
    (root / FIRST_IMAGE).write_bytes((root / FIRST_IMAGE).read_bytes()[:-100])
    return FIRST_IMAGE


def truncated_mask(root):
    (root / FIRST_LABEL).write_bytes((root / FIRST_LABEL).read_bytes()[:60])
    return FIRST_LABEL


def unknown_label(root):
    Image.fromarray(np.full((8, 16), 34, np.uint8)).save(root / FIRST_LABEL)
    return FIRST_LABEL


def coloured_mask(root):
    Image.fromarray(image_of(FIRST)).save(root / FIRST_LABEL)
    return FIRST_LABEL


def mask_of_another_size(root):
    Image.fromarray(label_of(FIRST)[:4]).save(root / FIRST_LABEL)
    return FIRST_LABEL


def image_of_another_size(root):
    Image.fromarray(image_of(FIRST)[:4]).save(root / FIRST_IMAGE)
    return FIRST_IMAGE


DAMAGES = [
    no_mask,
    no_image,
    neither,
    additional_file,
    image_of_another_city,
    additional_city,
    no_city,
    no_masks,
    no_val,
    truncated_image,
    truncated_mask,
    unknown_label,
    coloured_mask,
    mask_of_another_size,
    image_of_another_size,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["cityscapes", "cityscapes_512x1024"])
def test_a_bad_source_is_named_in_one_line_and_nothing_is_written(source, tmp_path, damage, name):
    path = damage(source)
    with pytest.raises(InputError) as error:
        data.prepare(name, source, tmp_path / "data")
    assert str(error.value).startswith(f"{source / path}:")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_file_in_an_archive_is_named(source, tmp_path, request):
    unknown_label(source)
    request.getfixturevalue("zipped")
    with pytest.raises(InputError, match="class id 34; expected 0 to 33 or 255") as error:
        data.prepare("cityscapes", source, tmp_path / "data")
    archive = source / "gtFine_trainvaltest.zip"
    assert str(error.value).startswith(f"{archive / FIRST_LABEL}:")


def truncated(content):
    del content[-40:]


def of_a_later_version(content):
    content[content.index(b"PK\x01\x02") + 6] = 127  # of the format, in tenths: 12.7


@pytest.mark.parametrize("damage", [truncated, of_a_later_version])
def test_a_damaged_archive_is_named(zipped, tmp_path, damage):
    archive = zipped / "leftImg8bit_trainvaltest.zip"
    content = bytearray(archive.read_bytes())
    damage(content)
    archive.write_bytes(content)
    with pytest.raises(InputError) as error:
        data.prepare("cityscapes", zipped, tmp_path / "data")
    assert str(error.value).startswith(f"{archive}: cannot be read as a zip file")


def test_damage_within_an_archive_is_named(zipped, tmp_path):
    archive = zipped / "leftImg8bit_trainvaltest.zip"
    content = bytearray(archive.read_bytes())
    start = content.index(b"IDAT", content.index(b"ulm_000002_000019_leftImg8bit.png"))
    content[start + 30] ^= 255
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"_leftImg8bit\.png: cannot be unpacked"):
        data.prepare("cityscapes", zipped, tmp_path / "data")
    assert not (tmp_path / "data").exists()
