"""Folders that people tried, in ../shared/cases/people: what is read of each."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data.annotations import find_annotations
from sassn_jax.data.dataset import UNLABELED
from sassn_jax.data.folder import read_layout
from sassn_jax.data.folder_layout import FolderLayout
from sassn_jax.data.images import decode_image, read_photo
from sassn_jax.data.masks import decode_label
from sassn_jax.errors import InputError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "people"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases/people")


@pytest.fixture
def case(tmp_path):
    """Returns a copy of a case, since its folder is not to be written."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(CASES / name, tmp_path / name))

    return copy


def opened(content: bytes, decode) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return decode(image)


def masks_of(root: Path) -> dict[str, np.ndarray]:
    layout = read_layout(root).examined(lambda done, total: None)
    return {
        id_: opened(layout.read(split, id_)[1], decode_label)
        for split, ids in layout.splits.items()
        if split != UNLABELED
        for id_ in ids
    }


def stored(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("bin255", lambda pixels: pixels // 255),
        ("onebit", lambda pixels: pixels),
        ("i16", lambda pixels: pixels),
        ("la", lambda pixels: pixels[..., 0]),
        ("rgbgrey", lambda pixels: pixels[..., 0]),
        ("exif180", lambda pixels: pixels),
        ("crlf", lambda pixels: pixels),
    ],
)
def test_masks_of_many_kinds_are_read(case, name, ids):
    root = case(name)
    found = masks_of(root)
    assert len(found) == 4
    for id_, label in found.items():
        np.testing.assert_array_equal(label, ids(stored(root / "labels" / f"{id_}.png")))


def test_a_photo_that_is_stored_upside_down_is_turned_and_its_mask_is_not(case):
    root = case("exif180")
    layout = read_layout(root).examined(lambda done, total: None)
    split = next(split for split, ids in layout.splits.items() if "i1" in ids)
    image = opened(layout.read(split, "i1")[0], decode_image)
    np.testing.assert_array_equal(image, stored(root / "images" / "i1.jpg")[::-1, ::-1])
    assert any("EXIF orientation" in note for note in layout.notes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("jpgmask", r"i1.jpg: is no mask; JPEG changes class ids"),
        ("offby1_all", r"i\d.png: class id 3; .* the ids seem to begin at 1, so subtract 1"),
    ],
)
def test_masks_without_class_ids_are_refused_with_the_cause(case, name, reason):
    root = case(name)
    with pytest.raises(InputError, match=reason):
        masks_of(root)


def odd() -> FolderLayout:
    """Returns the odd photos without their lists, which name files that are damaged."""
    images, labels = (
        {
            path.relative_to(root).with_suffix("").as_posix(): path
            for path in root.rglob("*.*")
            if path.is_file()
        }
        for root in (CASES / "odd_photos" / "images", CASES / "odd_photos" / "labels")
    )
    ids = tuple(sorted(labels))
    return FolderLayout(
        CASES / "odd_photos", ("background", "box", "ball"), {"train": ids}, images, labels
    )


def test_of_odd_photos_those_that_can_be_read_are_read_and_the_others_named():
    layout = odd()
    refused = {}
    for id_ in layout.splits["train"]:
        try:
            image, label = layout.read("train", id_)
        except InputError as error:
            refused[id_] = str(error)
            continue
        size = opened(image, decode_image).shape[:2]
        assert size == opened(label, decode_label).shape
        assert size == ((160, 120) if id_ == "exif_rot_shown" or id_ == "exif_rot" else size)
    expected = {
        "broken": "broken.jpg: cannot be read as an image",
        "zero_mask": "zero_mask.png: cannot be read as a mask (the file is empty)",
        "m_off1": "m_off1.png: class id 3; expected 0 to 2 or 255 (ignore); the ids seem to begin",
        "m_rgb": "m_rgb.png: cannot be read as a mask (has colours, such as (",
    }
    assert refused.keys() == expected.keys()
    for id_, text in expected.items():
        assert text in refused[id_]
    with pytest.raises(InputError, match=r"empty.jpg: cannot be read as an image \(the file is em"):
        read_photo(layout.images["empty"])


def test_annotations_as_tools_write_them():
    names = ("background", "box", "ball")
    for folder, id_ in (("labelme", "lm1"), ("coco", "c1")):
        if folder == "coco":
            pytest.importorskip("pycocotools")
        root = CASES / "odd_photos" / folder
        (found,) = find_annotations(root, [id_]).values()
        label = found.draw(names, read_photo(root / f"{id_}.jpg"))
        assert set(np.unique(label)) == {0, 1}
        rows, columns = np.nonzero(label)
        edges = rows.min(), rows.max(), columns.min(), columns.max()
        # The box is drawn from (40, 30) to (93, 70). LabelMe draws the outline too, COCO does not.
        assert edges == ((30, 70, 40, 93) if folder == "labelme" else (30, 69, 40, 92))
