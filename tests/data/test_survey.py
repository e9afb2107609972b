"""What a recipe is fitted to, before any mask has been read."""

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.errors import InputError


@pytest.fixture
def photos(tmp_path):
    """Returns a function that makes a folder of some images, all with masks."""

    def make(count):
        for kind, shape in (("images", (20, 30, 3)), ("labels", (20, 30))):
            (tmp_path / kind).mkdir()
            for i in range(count):
                pixels = np.full(shape, i if kind == "images" else i % 2, np.uint8)
                Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
        return tmp_path

    return make


def test_sizes_colours_and_masks_are_counted(photos):
    found = data.survey(photos(20))
    assert found == data.Survey(16, (20, 30), (9.5, 9.5, 9.5))  # 4 are for validation


def test_a_single_image_is_left_to_prepare(photos):
    """It cannot be split, which `prepare` says."""
    root = photos(1)
    assert data.survey(root) == data.Survey(1, (20, 30), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="a single training image has a mask"):
        data.prepare("folder", root, "")


@pytest.mark.parametrize("name", ["0", "9"])
def test_a_file_of_ids_may_name_any_image(photos, tmp_path, name):
    root = photos(10)
    (tmp_path / "ids.txt").write_text(name)
    found = data.survey(root, str(tmp_path / "ids.txt"))
    assert found is not None
    assert found.labeled == 1


def test_a_folder_that_is_wrong_is_left_to_prepare(tmp_path):
    assert data.survey(tmp_path) is None
