import subprocess
import sys

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.data.dataset import make_palette
from sassn_jax.errors import InputError
from tests.data.sources import numbered


def test_a_subset_reads_the_named_images_in_the_named_order():
    source = data.subset(numbered(9), ["image_7", "image_2"])
    assert list(source.ids) == ["image_7", "image_2"]
    assert [int(source[i]["image"][0, 0, 0]) for i in range(len(source))] == [7, 2]
    assert [source[i]["id"] for i in range(len(source))] == list(source.ids)


def test_a_subset_of_unknown_ids_is_refused():
    with pytest.raises(InputError, match="'image_9'"):
        data.subset(numbered(9), ["image_0", "image_9"])


def test_joined_sources_are_one_after_the_other():
    parts = numbered(3), numbered(2)
    joined = data.Joined(parts)
    assert joined.ids == (*parts[0].ids, *parts[1].ids)
    assert len(joined) == 5
    for index, (part, place) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]):
        np.testing.assert_array_equal(joined[index]["image"], parts[part][place]["image"])
    with pytest.raises(IndexError):
        joined[5]


def test_an_unknown_dataset_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match=r"dataset='voc': .*camvid, folder, .*scenes"):
        data.load("voc")


@pytest.mark.parametrize(
    ("name", "count"),
    [("scenes", 8), ("camvid", 11), ("voc2012_aug", 21), ("cityscapes_512x1024", 19)],
)
def test_published_classes_are_known_without_files(name, count):
    assert len(data.class_names(name)) == count


def test_published_classes_are_those_of_the_dataset():
    assert data.class_names("scenes") == data.load("scenes").info.class_names
    with pytest.raises(InputError, match=r"dataset='voc': .*camvid, folder, .*scenes"):
        data.class_names("voc")


def test_classes_of_ones_own_are_in_ones_own_files(tmp_path):
    with pytest.raises(InputError, match=r"data_dir=.*sassn prepare --dataset=folder"):
        data.class_names("folder", tmp_path)


def test_num_classes_leaves_out_the_ignore_label():
    info = data.DatasetInfo("two", ("a", "b"), np.zeros((2, 3), np.uint8))
    assert info.num_classes == 2
    assert info.ignore_label == data.IGNORE_LABEL == 255


def test_classes_without_a_colour_get_one_of_voc_and_a_background_is_black():
    palette = make_palette(("background", "sky", "car", "dog"), {"sky": (1, 2, 3)})
    assert palette.dtype == np.uint8
    assert palette.tolist() == [[0, 0, 0], [1, 2, 3], [128, 128, 0], [0, 0, 128]]
    assert make_palette(("background",), {"background": (9, 9, 9)}).tolist() == [[9, 9, 9]]


def test_importing_the_package_loads_no_tensorflow_torch_or_tfds():
    script = (
        "import sys, sassn_jax.data; "
        "print([m for m in ('tensorflow', 'torch', 'tensorflow_datasets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
