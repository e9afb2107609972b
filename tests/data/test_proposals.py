"""Masks that a network proposed are trained on, and none of them is taken for validation."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sassn_jax import data
from sassn_jax.data import folder, records
from sassn_jax.data.dataset import DatasetInfo, make_palette
from sassn_jax.data.proposals import is_proposed
from sassn_jax.errors import InputError
from sassn_jax.prediction.result import Prediction
from tests.data.conftest import CLASSES

SIZE = (20, 30)
DRAWN, ALL = 10, 24


def draw(path, label):
    Image.fromarray(label).save(path)


def propose(path, label, certainty=1.0, classes=CLASSES):
    """Saves a mask as a prediction of `label`, of the same certainty in all pixels."""
    info = DatasetInfo("folder", classes, make_palette(classes, {}))
    image = np.zeros((*label.shape, 3), np.uint8)
    Prediction(image, label, np.full(label.shape, certainty, np.float32), info).save(path, 0.5)


def labels_by_id(dataset):
    return {x["id"]: x["label"] for split in dataset.splits.values() for x in split}


@pytest.fixture
def photos(tmp_path):
    """A folder of 24 photos, of which the first 10 in order of their names have a drawn mask."""
    root = tmp_path / "photos"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(ALL):
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(image).save(root / "images" / f"{i:02}.png")
        if i < DRAWN:
            draw(root / "labels" / f"{i:02}.png", np.full(SIZE, i % 3, np.uint8))
    return root


@pytest.fixture
def proposed(photos):
    """The ids of the other photos, after each has got a mask from a network."""
    ids = [f"{i:02}" for i in range(DRAWN, ALL)]
    for i, id_ in enumerate(ids):
        propose(photos / "labels" / f"{id_}.png", np.full(SIZE, i % 3, np.uint8))
    return ids


def splits_of(photos):
    return {name: source.ids for name, source in data.load("folder", source=photos).splits.items()}


def test_a_predicted_mask_says_so_in_a_text_that_pillow_reads(tmp_path):
    label = np.zeros(SIZE, np.uint8)
    propose(tmp_path / "a.png", label)
    draw(tmp_path / "b.png", label)
    with Image.open(tmp_path / "a.png") as mask:
        assert mask.text == {"Source": "sassn_jax prediction"}
        mask.save(tmp_path / "c.png")  # as a program does that keeps no texts
        text = PngImagePlugin.PngInfo()
        text.add_text("Source", "a scanner")
        mask.save(tmp_path / "d.png", pnginfo=text)
    (tmp_path / "e.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    found = [path.name for path in sorted(tmp_path.iterdir()) if is_proposed(path)]
    assert found == ["a.png"]


def test_the_same_images_validate_before_and_after(photos, tmp_path, request):
    before = splits_of(photos)
    proposed = request.getfixturevalue("proposed")
    assert before["unlabeled"] == tuple(proposed)
    after = splits_of(photos)
    assert after == {"train": tuple(sorted((*before["train"], *proposed))), "val": before["val"]}
    # Prepared elsewhere, by itself, it is the same, and still known which masks are proposed.
    data.prepare("folder", photos, tmp_path / "data")
    dataset = data.load("folder", tmp_path / "data")
    assert {name: source.ids for name, source in dataset.splits.items()} == after
    assert dataset.proposed == set(proposed)
    notes = records.read_description("folder", photos / ".sassn").notes
    (note,) = (note for note in notes if "proposed" in note)
    assert note.startswith("14 of 21 training masks were proposed by a network")


def test_a_mask_that_was_saved_again_counts_as_drawn(photos, proposed):
    for id_ in proposed:
        path = photos / "labels" / f"{id_}.png"
        with Image.open(path) as mask:
            mask.load()
        mask.save(path)
    assert len(splits_of(photos)["val"]) == 4  # of 10 drawn masks it would be 3
    assert not data.load("folder", source=photos).proposed


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_list_that_names_proposed_masks_is_followed_with_a_warning(photos, proposed, name):
    (photos / f"{name}.txt").write_text(f"{proposed[0]}\n01\n{proposed[1]}\n")
    assert splits_of(photos)[name] == (proposed[0], "01", proposed[1])
    notes = folder.read_layout(photos).examined(lambda done, total: None).notes
    assert sum("proposed" in note for note in notes) == 2
    assert any(note.startswith(f"{name}.txt names 2 masks, of 3, that were") for note in notes)


def test_proposed_masks_alone_cannot_be_validated_on(photos, proposed):
    for i in range(1, DRAWN):
        (photos / "labels" / f"{i:02}.png").unlink()
    with pytest.raises(InputError, match=r"a network proposed 14 of 15 masks; expected at least"):
        data.load("folder", source=photos)


def test_the_recipe_keeps_as_many_images_as_are_drawn(photos, proposed):
    found = data.survey(photos)
    assert found is not None
    assert found.labeled == ALL - DRAWN // 5


def test_black_and_white_masks_stay_so_beside_proposed_ones(photos):
    """A network's masks hold the ids 0 and 1, and 255 where it is unsure."""
    (photos / "classes.txt").write_text("background\nball\n")
    ball = np.zeros(SIZE, np.uint8)
    ball[5:] = 1
    for i in range(DRAWN):
        draw(photos / "labels" / f"{i:02}.png", 255 * ball)
    before = labels_by_id(data.load("folder", source=photos))
    propose(photos / "labels" / "10.png", ball, classes=("background", "ball"))
    propose(photos / "labels" / "11.png", ball, certainty=0.1, classes=("background", "ball"))
    after = labels_by_id(data.load("folder", source=photos))
    for i in range(DRAWN):
        np.testing.assert_array_equal(before[f"{i:02}"], ball)
        np.testing.assert_array_equal(after[f"{i:02}"], ball)
    np.testing.assert_array_equal(after["10"], ball)
    assert (after["11"] == 255).all()
    with Image.open(photos / "labels" / "10.png") as mask:
        mask.load()
    mask.save(photos / "labels" / "10.png")  # as a program does that drops the mark
    after = labels_by_id(data.load("folder", source=photos))
    for id_ in ("00", "10"):
        np.testing.assert_array_equal(after[id_], ball)


def test_ignored_pixels_are_no_class_that_is_white(photos):
    """In a palette ignored pixels are white, which may be a class's colour in drawn masks."""
    (photos / "classes.txt").write_text("Sky 255 255 255\nRoad 9 9 9\nLlama 1 2 3\n")
    propose(photos / "labels" / "10.png", np.ones(SIZE, np.uint8), certainty=0.1)
    assert (labels_by_id(data.load("folder", source=photos))["10"] == 255).all()
