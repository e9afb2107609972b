"""The command `experiments.prepare`, from outside."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import forked

ROOT = Path(__file__).parents[2]


def prepare(*flags):
    return forked.run("experiments.prepare", *map(str, flags))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("Sky\nRoad\n")
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").write_text(f"{split}_0\n")
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(root / "images" / f"{split}_0.jpg")
        label = np.ones((8, 9), np.uint8)
        label[:2] = 0
        Image.fromarray(label).save(root / "labels" / f"{split}_0.png")
    return root


def test_it_prepares_once_and_reports_what_there_is(source, tmp_path):
    flags = ("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    first, second = prepare(*flags), prepare(*flags)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "2 classes, images: 1 train, 1 val, 1 test" in first.stdout
    assert "already" not in first.stdout
    assert "already" in second.stdout
    assert (first.stderr, second.stderr) == ("", "")


def test_it_prints_pixels_and_masks_by_class_and_warns(source, tmp_path):
    for split, values in {"train": [1, 1, 255], "val": [1, 1, 1], "test": [255, 255, 255]}.items():
        label = np.repeat(np.array([values], np.uint8), 4, axis=0)
        Image.fromarray(np.zeros((4, 3, 3), np.uint8)).save(source / "images" / f"{split}_0.jpg")
        Image.fromarray(label).save(source / "labels" / f"{split}_0.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.zeros((4, 3, 3), np.uint8)).save(source / "images" / "val_0.jpg", exif=exif)
    flags = ("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    first, second = prepare(*flags), prepare(*flags)
    assert first.stdout.splitlines()[1:] == second.stdout.splitlines()[1:]
    rows = [line.split() for line in first.stdout.splitlines()]
    assert [row for row in rows if row and row[0].isdigit()] == [
        ["0", "Sky", "0.00%", "0", "0.00%", "0", "0.00%", "0"],
        ["1", "Road", "66.67%", "1", "100.00%", "1", "0.00%", "0"],
        ["255", "(ignored)", "33.33%", "0.00%", "100.00%"],
    ]
    warnings = first.stderr.splitlines()
    assert all(line.startswith("prepare: warning: ") for line in warnings)
    for line, text in zip(
        warnings,
        ("class id 0, 'Sky', occurs in no mask", "no mask of test holds class 1 'Road'",
         "1 of 1 masks of test are ignored"),
        strict=True,
    ):  # fmt: skip
        assert text in line
    assert "note: images with an EXIF orientation: they are turned as it says" in first.stdout


def test_it_says_that_255_is_a_class(source, tmp_path):
    for split in ("train", "val", "test"):
        label = np.array([[0, 255, 255]], np.uint8)
        Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(source / "images" / f"{split}_0.jpg")
        Image.fromarray(label).save(source / "labels" / f"{split}_0.png")
    done = prepare("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(
        "note: the masks hold 0 and 255 alone: 255 is read as class 1, 'Road', and no pixel is "
        "ignored\n"
    )


def test_a_mistake_is_one_line_and_exit_code_2(source, tmp_path):
    (source / "labels" / "val_0.png").unlink()
    done = prepare("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(source / "labels" / "val_0.png") in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((), "--dataset"),
        (
            ("--dataset=voc", "--source=a", "--data_dir=b"),
            "camvid, folder, voc2012_aug, cityscapes, cityscapes_512x1024",
        ),
        (("--dataset=voc2012_aug", "--source=a", "--data_dir=b"), "a/VOCdevkit/VOC2012: no such"),
        (("--dataset=cityscapes_512x1024", "--source=a", "--data_dir=b"), "a/leftImg8bit: no such"),
    ],
)
def test_missing_and_unknown_values_say_what_is_allowed(flags, named):
    done = prepare(*flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


STOPPED = """
import runpy, sys
from sassn_jax.data import folder

def read(self, split, id_):
    raise KeyboardInterrupt

folder.FolderLayout.read = read
sys.argv[0] = "prepare.py"
runpy.run_module("experiments.prepare", run_name="__main__", alter_sys=False)
"""


def test_one_that_is_stopped_says_that_it_can_go_on(source, tmp_path):
    flags = ("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *flags], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 75
    assert done.stderr == (
        "prepare: stopped; run it again, and what it had checked is not checked again\n"
    )


SMALL = """
import runpy, sys
from sassn_jax.data import cityscapes

cityscapes.CITIES = {"train": {"ulm": 2}, "val": {"munster": 1}}
cityscapes.IMAGE_SIZE = (8, 16)
sys.argv[0] = "prepare.py"
runpy.run_module("experiments.prepare", run_name="__main__", alter_sys=False)
"""


def test_it_prepares_cityscapes_at_half_the_size(tmp_path):
    for folder, suffix, shape in (
        ("leftImg8bit", "leftImg8bit", (8, 16, 3)),
        ("gtFine", "gtFine_labelIds", (8, 16)),
    ):
        for id_ in ("ulm_000000_000019", "ulm_000001_000019", "munster_000000_000019"):
            city = id_.partition("_")[0]
            split = "val" if city == "munster" else "train"
            path = tmp_path / folder / split / city / f"{id_}_{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(shape, 7, np.uint8)).save(path)
    flags = (
        "--dataset=cityscapes_512x1024",
        f"--source={tmp_path}",
        f"--data_dir={tmp_path / 'd'}",
    )
    done = subprocess.run(
        [sys.executable, "-c", SMALL, *flags], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0
    assert "prepared cityscapes_512x1024, 19 classes, images: 2 train, 1 val" in done.stdout
