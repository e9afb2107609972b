"""The command `experiments.prepare`, from outside."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def prepare(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.prepare", *map(str, flags)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("Sky\nRoad\n")
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").write_text(f"{split}_0\n")
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(root / "images" / f"{split}_0.jpg")
        Image.fromarray(np.ones((8, 9), np.uint8)).save(root / "labels" / f"{split}_0.png")
    return root


def test_it_prepares_once_and_reports_what_there_is(source, tmp_path):
    flags = ("--dataset=camvid", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    first, second = prepare(*flags), prepare(*flags)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "2 classes, images: 1 train, 1 val, 1 test" in first.stdout
    assert "already" not in first.stdout
    assert "already" in second.stdout
    assert (first.stderr, second.stderr) == ("", "")


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
            "camvid, voc2012_aug, cityscapes, cityscapes_512x1024",
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
