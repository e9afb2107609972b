"""Several folders of one's own that are prepared in one data_dir."""

import shutil

import pytest

from sassn_jax import data
from sassn_jax.errors import InputError


def test_two_folders_of_one_name_do_not_share_a_place(source, tmp_path):
    """Otherwise each would be prepared over the other, perhaps while a run reads it."""
    other = tmp_path / "other" / source.name
    shutil.copytree(source, other)
    (other / "images" / "train_0.jpg").rename(other / "images" / "new.jpg")
    (other / "labels" / "train_0.png").rename(other / "labels" / "new.png")
    (other / "train.txt").write_text("new\n")
    place = tmp_path / "data"
    before = data.load("folder", place, source).splits["train"].ids
    with pytest.raises(InputError) as error:
        data.load("folder", place, other)
    assert str(error.value) == (
        f"data_dir='{place}': source was prepared there from {source}; choose another data_dir, "
        "or give one of the two folders another name"
    )
    assert data.load("folder", place, source).splits["train"].ids == before
    source.rename(tmp_path / "gone")
    assert data.load("folder", place, other).splits["train"].ids == ("new",)


def test_a_folder_that_holds_its_own_records_can_be_moved(source, tmp_path):
    data.load("folder", None, source)
    assert not list(source.glob(".sassn/*.txt"))
    moved = source.rename(tmp_path / "moved")
    assert not data.prepare("folder", moved, None)
