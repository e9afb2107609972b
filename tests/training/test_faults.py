"""Runs on data of which some images are damaged."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from sassn_jax import data
from sassn_jax.data import records_builder
from sassn_jax.errors import InputError
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.reporting.collecting import summarize_run
from sassn_jax.training.loop import train_and_evaluate
from tests.damage import flip_bit
from tests.training import many
from tests.training.conftest import assert_equal_bits, rows_of, tiny_config, train_until

pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks", "fast_compile")

SHARE = 0.3
DAMAGED = {"labeled": "train_3", "unlabeled": "train_1", "val": "val_0"}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Of a run on 8 images, 4 of them labelled, and 4 for validation, in records."""
    monkeypatch.setattr(records_builder, "SHARD_LENGTH", 4)
    root = tmp_path / "photos"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    (root / "classes.txt").write_text("grass\nsky\nroad\n")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        ids = [f"{split}_{i}" for i in range(count)]
        (root / f"{split}.txt").write_text("\n".join(ids))
        for id_ in ids:
            image, label = rng.integers(0, 256, (40, 50, 3)), rng.integers(0, 3, (40, 50))
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{id_}.png")
            Image.fromarray(label.astype(np.uint8)).save(root / "labels" / f"{id_}.png")
    data.prepare("folder", root, tmp_path / "data")
    (tmp_path / "labels.txt").write_text("train_0\ntrain_3\ntrain_4\ntrain_6\n")
    made = tiny_config("advsemiseg")
    made.dataset, made.data_dir = "folder", str(tmp_path / "data")
    made.labels, made.max_unreadable = str(tmp_path / "labels.txt"), SHARE
    return made


def damage(tmp_path, *ids):
    for id_ in ids:
        content = (tmp_path / "photos" / "images" / f"{id_}.png").read_bytes()
        flip_bit(tmp_path / "data", content)


def test_a_run_goes_on_without_images_that_cannot_be_read(
    config, tmp_path, workdir, monkeypatch, capsys
):
    damage(tmp_path, *DAMAGED.values())
    state = train_and_evaluate(config, workdir)
    said = capsys.readouterr().out
    for id_ in DAMAGED.values():  # each is named once
        assert said.count(f"image {id_!r} of") == 1
    assert "'train_3' of train: " in said
    assert "; without 1 of 4 images, which cannot be read" in said
    assert said.splitlines()[-1].endswith(
        "could not be read and were skipped: 1 of 4 labelled images, 1 of 4 unlabelled images, "
        "1 of 4 images of val"
    )
    rows = rows_of(workdir)
    # Eight steps show each labelled image four times, four steps each unlabelled one twice.
    assert sum(row.get("data/replaced", 0) for row in rows) == 4 + 2
    assert [row["val/left_out"] for row in rows if "val/miou" in row] == [1]
    written = json.loads((workdir / "eval_val.json").read_text())
    assert written["left_out"] == ["val_0"]
    again = evaluate_run(workdir)
    assert again["left_out"] == ["val_0"]
    assert again["miou"] == pytest.approx(written["miou"])
    assert summarize_run(workdir, "a run").left_out == 1

    # A resumed run, with a loader worker, skips the same images for the same ones.
    stopped = workdir.with_name("stopped")
    train_until(5, config, stopped, monkeypatch)
    config.loader_workers = 1
    assert_equal_bits(state, train_and_evaluate(config, stopped))
    assert [row.get("data/replaced") for row in rows_of(stopped)] == [
        row.get("data/replaced") for row in rows
    ]


@pytest.mark.slow
def test_two_processes_skip_what_one_does(config, tmp_path):
    damage(tmp_path, *DAMAGED.values(), "val_3")
    flags = [
        f"--config={many.ROOT / 'configs' / 'folder.py'}:method=advsemiseg",
        *(f"--config.{name}={config[name]}" for name in ("data_dir", "labels", "num_steps")),
        *("--config.max_unreadable=0.5", "--config.crop_size=32,48", "--config.batch_size=2"),
        *("--config.loss.semi_start=4", "--config.model.backbone=resnet_tiny"),
        *("--config.eval.window=32,48", "--config.log_every=2"),
    ]
    (alone,) = many.run("train", *flags, f"--workdir={tmp_path / 'one'}")
    first, _ = many.run("train", *flags, f"--workdir={tmp_path / 'two'}", processes=2)
    for id_ in (*DAMAGED.values(), "val_3"):
        assert alone[1].count(f"image {id_!r} of") == first[1].count(f"image {id_!r} of") == 1
    assert first[1].splitlines()[-3:-2] == alone[1].replace("one: ", "two: ").splitlines()[-3:-2]
    rows = [rows_of(tmp_path / name) for name in ("one", "two")]
    for name in ("data/replaced", "val/left_out"):
        assert [row.get(name) for row in rows[0]] == [row.get(name) for row in rows[1]]
    written = [
        json.loads((tmp_path / name / "eval_val.json").read_text())["left_out"]
        for name in ("one", "two")
    ]
    assert written == [["val_0", "val_3"]] * 2
    states = [many.read_state(tmp_path / name, config.num_steps) for name in ("one", "two")]
    assert many.largest_difference(*states) < 1e-3


def test_a_missing_file_of_validation_images_ends_a_run_before_it_begins(config, tmp_path, workdir):
    file = next((tmp_path / "data").rglob("*-val.array_record*"))
    file.unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .*; remove .* and prepare"):
        train_and_evaluate(config, workdir)
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("id_", "share", "expected"),
    [
        ("train_3", 0.2, "1 of 4 labelled images cannot be read so far, and max_unreadable=0.2"),
        ("val_0", 0, "1 of 4 images of val cannot be read so far, and max_unreadable=0"),
    ],
)
def test_past_the_share_a_run_stops(config, tmp_path, workdir, id_, share, expected):
    damage(tmp_path, id_)
    config.method, config.num_steps, config.max_unreadable = "supervised", 3, share
    with pytest.raises(InputError) as error:
        train_and_evaluate(config, workdir)
    assert str(error.value).startswith(str(tmp_path / "data"))
    assert f"; {expected}" in str(error.value)
    assert "\n" not in str(error.value)
