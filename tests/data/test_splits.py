import json
import os
from pathlib import Path

import pytest

from sassn_jax.data import Split, choose_labeled, read_split, write_split
from sassn_jax.errors import InputError

IDS = tuple(f"frame_{i:03}" for i in range(367))


@pytest.mark.parametrize(
    ("labels", "count"), [("1/8", 45), ("0.125", 45), ("1/4", 91), ("1/2", 183), ("1", 367)]
)
def test_a_fraction_labels_its_floor(labels, count):
    split = choose_labeled(IDS, labels, seed=0)
    assert len(split.labeled) == count
    assert sorted(split.labeled + split.unlabeled) == sorted(IDS)
    assert list(split.labeled) == [id_ for id_ in IDS if id_ in split.labeled]


@pytest.mark.parametrize(
    ("count", "sizes"), [(10_582, (1322, 2645, 5291)), (2975, (371, 743, 1487))]
)
def test_the_papers_datasets_have_as_many_labelled_images_as_advsemiseg(count, sizes):
    ids = [f"2008_{i:06}" for i in range(count)]
    chosen = [len(choose_labeled(ids, labels, seed=1).labeled) for labels in ("1/8", "1/4", "1/2")]
    assert tuple(chosen) == sizes


def test_the_smallest_fraction_labels_one():
    assert len(choose_labeled(IDS, "1/1000", seed=0).labeled) == 1


def test_the_choice_depends_on_the_seed_and_on_names_alone():
    split = choose_labeled(IDS, "1/8", seed=3)
    assert split == choose_labeled(IDS, "1/8", seed=3)
    assert set(split.labeled) == set(choose_labeled(IDS[::-1], "1/8", seed=3).labeled)
    assert set(split.labeled) != set(choose_labeled(IDS, "1/8", seed=4).labeled)
    assert set(split.labeled) < set(choose_labeled(IDS, "1/4", seed=3).labeled)


def test_the_choice_is_the_one_made_on_any_machine():
    ids = tuple("abcdefgh")
    assert choose_labeled(ids, "1/4", seed=0).labeled == GOLDEN[0]
    assert choose_labeled(ids, "1/4", seed=1).labeled == GOLDEN[1]


# The ids with the smallest sums by `printf SEED:ID | sha256sum`.
GOLDEN = {0: ("f", "h"), 1: ("d", "g")}


@pytest.mark.parametrize(
    "labels",
    ["0", "3/2", "-1/8", "1/0", "abc", "", "nan", "inf", "tests", "1e999999999"],
)
def test_what_is_no_fraction_and_no_file_is_refused(labels):
    with pytest.raises(InputError) as error:
        choose_labeled(IDS, labels, seed=0)
    expected = f"labels={labels!r}: expected a fraction such as 1/8, or a file of ids"
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)


def test_a_file_names_the_labelled_images(tmp_path):
    path = tmp_path / "labeled.txt"
    path.write_text("frame_009\n\n  frame_002 \r\n")
    split = choose_labeled(IDS, str(path), seed=0)
    assert split.labeled == ("frame_002", "frame_009")
    assert len(split.unlabeled) == 365


def test_a_file_of_ids_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "labeled.txt"
    path.write_text("frame_009\nframe_002\n", encoding="utf-8-sig")
    assert choose_labeled(IDS, str(path), seed=0).labeled == ("frame_002", "frame_009")


VOC = ("2007_000032", "2008_000002", "2008_000003")
CITYSCAPES = ("aachen_000000_000019", "jena_000078_000019", "jena_000079_000019")


@pytest.mark.parametrize(
    ("ids", "content"),
    [
        (VOC, "{0}\n{2}\n"),
        (VOC, "JPEGImages/{2}.jpg SegmentationClass/{2}.png\nJPEGImages/{0}.jpg\n"),
        (VOC, "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\r\n{2}\r\n"),
        (CITYSCAPES, "{0}\n{2}"),
        (
            CITYSCAPES,
            "leftImg8bit/train/jena/{2}_leftImg8bit.png "
            "gtFine/train/jena/{2}_gtFine_labelTrainIds.png\n"
            "leftImg8bit/train/aachen/{0}_leftImg8bit.png\tgtFine/aachen/{0}_gtFine_labelIds.png",
        ),
        (("a photo", "b", "c.1"), "a photo\nc.1\n"),
        (
            ("a photo", "b", "c.1"),
            "in/my images/a photo.jpg in/my labels/a photo.png\n/x y/c.1.jpg\n",
        ),
        (VOC, "JPEGImages\\{2}.jpg SegmentationClass\\{2}.png\r\nC:\\my data\\{0}.jpg\r\n"),
        (("in/a b", "b", "in/c"), "images\\in\\a b.jpg\nimages/in/c.png labels/in/c.png\n"),
        (("a\\b", "b", "c"), "images/a\\b.jpg labels/a\\b.png\nc\n"),
        (("1 1", "1", "a b"), "images/1 1.jpg\nimages/a b.JPG labels/a b.png\n"),
        (("1 1", "1", "b"), "images/1 1.jpg labels/1 1.png\nimages/b labels/b\n"),
    ],
)
def test_a_file_may_name_images_as_published_lists_do(tmp_path, ids, content):
    path = tmp_path / "labeled.txt"
    for encoding in ("utf-8", "utf-16"):  # the latter by PowerShell's `>`
        path.write_text(content.format(*ids), encoding, newline="")
        assert choose_labeled(ids, str(path), seed=0) == Split((ids[0], ids[2]), (ids[1],))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"images/frame_001.jpg labels/frame_002.png\n", "'images/frame_001.jpg labels/frame_002"),
        (b"images/nobody.jpg labels/frame_002.png\n", "'images/nobody.jpg labels/frame_002"),
        (b"images/frame_001.jpg labels/nobody.png\n", "'images/frame_001.jpg labels/nobody"),
        (b"images/nobody labels/frame_002\n", "'images/nobody labels/frame_002"),
        (b"# images/frame_001.jpg\n", "'# images/frame_001.jpg"),
        (b"SKIP images/frame_001.jpg labels/frame_001.png\n", "'SKIP images/frame_001"),
        (b"0.97 images/frame_001.jpg\n", "'0.97 images/frame_001"),
        (b"images/frame_001.2\n", "'images/frame_001.2"),
        (b"a/nobody.jpg b/nobody.png c/frame_001.png\n", "'a/nobody.jpg b/nobody"),
        (
            b"a/frame_001.jpg b/frame_001.png a/frame_002.jpg b/frame_002.png\n",
            "'a/frame_001.jpg b/frame_001.png a/frame_002",
        ),
        (b"my images/frame_001.jpg my labels/frame_002.png\n", "'my images/frame_001.jpg my labe"),
        (b"images/frame_001.jpg\nframe_001\n", "'frame_001' occurs twice"),
        (b"frame_001\nnobody\n", "'nobody'"),
        (b"frame_001\nframe_001\n", "'frame_001' occurs twice"),
        (b"\n \n", "empty; expected image ids"),
        (b"\xff\xfe\x00", "text"),
    ],
)
def test_a_bad_file_of_ids_is_named(tmp_path, content, message):
    path = tmp_path / "labeled.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        choose_labeled(IDS, str(path), seed=0)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_line_that_can_be_read_in_two_ways_is_refused(tmp_path):
    """It is the image `1 1`, or the image `1` with the mask `1`."""
    path = tmp_path / "labeled.txt"
    path.write_text("images/1 1\n")
    with pytest.raises(InputError, match="'images/1 1' is not one of"):
        choose_labeled(("1", "1 1"), str(path), seed=0)


def test_a_split_comes_back_from_its_file(tmp_path):
    split = choose_labeled(IDS, "1/8", seed=0)._replace(fingerprint="a1")
    write_split(tmp_path / "split.json", split)
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split
    assert os.listdir(tmp_path) == ["split.json"]
    assert set(json.loads((tmp_path / "split.json").read_text())) == {
        "labeled",
        "unlabeled",
        "fingerprint",
    }


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    write_split(path, Split(("a",), ()))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_split(path, Split(("b",), ()))
    assert read_split(path) == Split(("a",), ())
    assert os.listdir(tmp_path) == ["split.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"labeled": "abc", "unlabeled": [], "fingerprint": ""}', '{"labeled": [1]}'],
)
def test_a_damaged_split_is_named(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"split\.json"):
        read_split(path)
