"""Prediction replaces nothing that a person made, and takes photos as people have them."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from sassn_jax.data import FileLimits
from sassn_jax.errors import InputError
from sassn_jax.prediction.files import predict_files
from sassn_jax.prediction.finding import find_files
from sassn_jax.prediction.outputs import Outputs

SHAPE = (40, 56, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)
    return path


def predict(run, source, output, **options):
    return predict_files(run, find_files(source, output), output, Outputs(**options))


def test_the_folder_of_the_photos_is_no_output(tmp_path):
    photo = save(tmp_path / "photos" / "a.png")
    link = tmp_path / "link"
    link.symlink_to(photo.parent)
    for source, output in [
        (photo, photo.parent),
        (photo.parent, link),
        (photo.parent, tmp_path / "photos" / ".." / "photos"),
    ]:
        with pytest.raises(InputError, match=r"^output=.*: the folder of the photos"):
            find_files(source, output)


def test_output_may_be_above_the_photos(tmp_path):
    photo = save(tmp_path / "photos" / "a.jpg")
    assert [path for path, _ in find_files(photo.parent, tmp_path)] == [photo]


def test_folders_behind_links_are_predicted_as_they_are_trained_on(tmp_path):
    save(tmp_path / "elsewhere" / "a.jpg")
    save(tmp_path / "photos" / ".thumbnails" / "b.jpg")
    folder = tmp_path / "photos"
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    (folder / "broken.jpg").symlink_to(tmp_path / "nothing")
    limits = FileLimits(follow_links=True)
    names = [os.fspath(name) for _, name in find_files(folder, tmp_path / "out", limits=limits)]
    assert names == ["linked/a.jpg"]


def test_annotated_photos_get_no_mask(run, tmp_path):
    """A mask would come before the annotations when the folder is read."""
    for name in ("png", "labelme", "coco", "none"):
        save(tmp_path / "images" / f"{name}.jpg")
    labels = tmp_path / "labels"
    save(labels / "png.PNG")
    (labels / "labelme.json").write_text("{}")
    (labels / "of_another_photo.json").write_text("{}")
    coco = {
        "images": [{"id": 1, "file_name": "coco.jpg", "width": 56, "height": 40}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0] * 6]}],
        "categories": [{"id": 1, "name": "ball"}],
    }
    (labels / "instances.json").write_text(json.dumps(coco))
    outcome = predict(run, tmp_path / "images", labels, as_labels=True)
    assert (outcome.predicted, outcome.skipped) == (1, 3)
    assert sorted(path.name for path in labels.glob("*.[pP]*")) == ["none.png", "png.PNG"]


def test_the_ending_need_not_be_that_of_the_format(run, tmp_path):
    save(tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(run.predict(tmp_path / "a.jpg").image, PIXELS)


def test_a_damaged_pil_image_is_one_clear_error(run, tmp_path):
    path = save(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-600])
    nan = Image.fromarray(np.full((9, 9), np.nan, np.float32))
    with Image.open(path) as damaged:
        for image in (damaged, nan, Image.new("RGB", (0, 5))):
            with pytest.raises(InputError, match=r"^image: (cannot be read|it has no pixels)"):
                run.predict(image)


def test_photos_of_a_kind_that_is_not_read_are_named(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "phone.HEIC", "deep/phone.avif", "notes.txt"):
        (folder / name).write_bytes(b"")
    notes = []
    found = find_files(folder, tmp_path / "out", notes.append)
    assert [name.name for _, name in found] == ["a.png"]
    (note,) = notes
    assert "deep/phone.avif is not read (2 such: deep/phone.avif, phone.HEIC); convert it" in note


def test_photos_of_a_data_set_that_have_masks_get_none_elsewhere(run, tmp_path, capsys):
    """Nobody who copies the new masks to labels/ replaces what a person drew."""
    for name in ("drawn", "labelme", "none", "deep/drawn", "deep/none"):
        save(tmp_path / "photos" / "images" / f"{name}.jpg")
    for name in ("drawn", "deep/drawn"):
        save(tmp_path / "photos" / "labels" / f"{name}.png")
    (tmp_path / "photos" / "labels" / "labelme.json").write_text("{}")
    images = tmp_path / "photos" / "images"

    def propose(source, output):
        outcome = predict(run, source, tmp_path / output, as_labels=True)
        made = sorted(str(path.relative_to(tmp_path / output)) for path in files(tmp_path / output))
        return made, (outcome.predicted, outcome.skipped, outcome.masked)

    assert propose(images, "all") == (["deep/none.png", "none.png"], (2, 0, 3))
    assert propose(images, "all") == (["deep/none.png", "none.png"], (0, 2, 3))
    assert propose(images / "deep", "deep") == (["none.png"], (1, 0, 1))
    assert propose(images / "*.jpg", "pattern") == (["none.png"], (1, 0, 2))
    assert propose(images / "drawn.jpg", "one") == ([], (0, 0, 1))
    assert predict(run, images, tmp_path / "predicted").predicted == 5  # which are no masks


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]
