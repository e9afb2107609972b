"""The command `experiments.inspect`, from outside."""

import json

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.commands import inspect as command
from sassn_jax.data.duplicates import NearDuplicate, is_available
from sassn_jax.data.inspection import Inspection, Named, Part
from tests.commands import forked
from tests.damage import flip_bit

SPLITS = {"train": 4, "val": 2, "test": 1}


def inspect(*flags, config="camvid.py:labels=1/2"):
    return forked.run("experiments.inspect", f"--config=configs/{config}", *flags)


@pytest.fixture
def data_dir(tmp_path):
    """A prepared dataset. One image is in two splits, and one mask is ignored as a whole."""
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("Sky\n[/red] Straße\n")
    for split, count in SPLITS.items():
        ids = [f"{split}_{i}" for i in range(count)]
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for i, id_ in enumerate(ids):
            seed = 0 if id_ in ("train_0", "val_1") else [len(split), i]
            rng = np.random.default_rng(seed)
            image = rng.integers(0, 256, (20, 30, 3), np.uint8)
            label = np.full((20, 30), 255, np.uint8) if id_ == "test_0" else image[..., 0] % 2
            Image.fromarray(image).save(root / "images" / f"{id_}.png")
            Image.fromarray(label).save(root / "labels" / f"{id_}.png")
    data.prepare("camvid", root, tmp_path / "data")
    return tmp_path / "data"


def test_it_prints_and_writes_what_there_is(data_dir, tmp_path):
    output = tmp_path / "a" / "look"
    done = inspect(f"--config.data_dir={data_dir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    for row in (
        ["train", "4", "30", "20"],
        ["train", "(labeled)", "2", "30", "20"],
        ["train", "(unlabeled)", "2", "30", "20"],
        ["val", "2", "30", "20"],
        ["255", "(ignored)", "0.00%", "0.00%", "100.00%"],
    ):
        assert row in rows
    assert any(row[:3] == ["1", "[/red]", "Straße"] for row in rows)
    warnings = done.stderr.splitlines()
    assert all(line.startswith("inspect: warning: ") for line in warnings)
    assert "inspect: warning: mask of test 'test_0': every pixel is ignored" in warnings
    written = json.loads((output / "inspect.json").read_text())
    assert written["labels"] == "1/2"
    assert written["splits"]["test"]["absent"] == ["Sky", "[/red] Straße"]
    assert written["odd_masks"][0]["id"] == "test_0"
    with Image.open(output / "inspect.png") as sheet:
        assert sheet.format == "PNG"
    assert sorted(path.name for path in output.iterdir()) == ["inspect.json", "inspect.png"]
    if is_available():
        alike = "val 'val_1' looks like train 'train_0' (hashes differ in 0 of 64 bits)"
        assert f"inspect: warning: {alike}" in warnings
        (pair,) = written["near_duplicates"]
        assert pair["distance"] == 0
    else:
        assert "pip install 'sassn_jax[inspect]'" in done.stdout


def test_a_damaged_image_is_named_and_the_rest_goes_on(data_dir):
    image = data_dir.parent / "source" / "images" / "train_1.png"
    flip_bit(data_dir, image.read_bytes())
    done = inspect(f"--config.data_dir={data_dir}", config="camvid.py:labels=1")
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "cannot be read" in line)
    assert line.startswith("inspect: warning: train 'train_1' cannot be read: ")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "3", "30", "20", "1"] in rows
    assert "(labeled)" not in done.stdout
    assert not list(data_dir.glob("**/inspect*"))


def test_files_that_are_not_prepared_are_inspected_too(data_dir):
    source = data_dir.parent / "source"
    path = source / "labels" / "val_0.png"
    path.write_bytes(path.read_bytes()[:-40])
    (source / "images" / "train_0.png").write_bytes(b"")
    done = inspect(f"--config.source={source}", config="camvid.py:labels=1/2")
    assert done.returncode == 1
    broken = [line for line in done.stderr.splitlines() if "cannot be read" in line]
    assert [str(source / "images" / "train_0.png") in broken[0], str(path) in broken[1]] == [1, 1]
    assert len(broken) == 2
    assert broken[1].endswith("cannot be read as a mask (damaged: it is cut short)")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "3", "30", "20", "1"] in rows
    assert ["val", "1", "30", "20", "1"] in rows


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    done = inspect(f"--config.data_dir={tmp_path}", f"--output={tmp_path / 'look'}")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.startswith(
        f"inspect: --config.data_dir='{tmp_path}': holds no prepared camvid"
    )
    assert not (tmp_path / "look").exists()
    done = inspect(f"--config.source={tmp_path / 'none'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"inspect: --config.source='{tmp_path / 'none'}': no such folder; expected camvid as it is "
        "published\n"
    )


def test_the_first_of_many_warnings_are_printed_but_all_broken_files(capsys):
    many = tuple(Named("train", f"image_{i}", "every pixel is ignored") for i in range(13))
    found = Inspection(("sky",), {"train": Part("train", None)}, many, None, many)
    command._print("folder", found, ("255 is a class",))
    printed = capsys.readouterr()
    assert "note: 255 is a class\n" in printed.out
    assert "were not looked for: pip install 'sassn_jax[inspect]'\n" in printed.out
    lines = printed.err.splitlines()
    assert sum("mask of train" in line for line in lines) == 10
    assert any("warning: and 3 more such images; --output=DIR writes all" in x for x in lines)
    (line,) = (line for line in lines if "cannot be read" in line)
    assert line.endswith("(13 such: image_0, image_1, image_10, ...)")
    assert not any("no mask holds" in line for line in lines)


def test_a_folder_is_inspected_without_its_damaged_files(data_dir):
    """As it is prepared without them, so that the splits are the same."""
    source = data_dir.parent / "source"
    for split in SPLITS:
        (source / f"{split}.txt").unlink()
    for path in ("images/train_1.png", "labels/train_2.png"):
        (source / path).write_bytes((source / path).read_bytes()[:60])
    (source / "images" / "plain.png").write_bytes(b"")  # without a mask
    config = f"folder.py:path={source},labels=1/2"
    done = inspect(config=config)
    assert done.returncode == 1, done.stderr
    assert sum(line.startswith("note: left out, ") for line in done.stdout.splitlines()) == 3
    assert "cannot be read" not in done.stderr
    data.prepare("folder", source, data_dir)
    prepared = data.load("folder", data_dir, source)
    assert {split: len(images) for split, images in prepared.splits.items()} == {
        "train": 4,
        "val": 1,
    }
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "(labeled)", "2", "30", "20", "-"] in rows
    assert ["val", "1", "30", "20"] in [row[:4] for row in rows]


def test_masks_that_all_cannot_be_read_are_one_line_a_split(data_dir):
    source = data_dir.parent / "source"
    for split in SPLITS:
        (source / f"{split}.txt").unlink()
    for path in (source / "labels").iterdir():
        path.write_bytes(b"\xff\xd8\xff")
    done = inspect(config=f"folder.py:path={source}")
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if "JPEG changes class ids" in line]
    assert ["such: " in line for line in lines] == [True, False]
    assert "no mask holds" not in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["train", "0", "-", "-", "6"] in rows or ["train", "0", "-", "-", "5"] in rows


def test_near_duplicates_in_val_or_test_are_printed_first(capsys):
    pairs = [("unlabeled", "train")] * 12 + [("val", "train"), ("unlabeled", "test")]
    alike = tuple(NearDuplicate(a, f"a{i}", b, f"b{i}", i % 7) for i, (a, b) in enumerate(pairs))
    command._print("folder", Inspection(("sky",), {}, (), alike, ()), ())
    lines = [line for line in capsys.readouterr().err.splitlines() if " looks like " in line]
    assert len(lines) == 10
    assert lines[0].partition(": ")[2].startswith("warning: val 'a12' looks like train 'b12' ")
    assert lines[1].partition(": ")[2].startswith("warning: unlabeled 'a13' looks like test 'b13' ")
    assert lines[2].partition(": ")[2].startswith("warning: unlabeled 'a0' looks like train 'b0' ")
