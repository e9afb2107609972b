"""What commands print, whatever a terminal can show and whatever things are called."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from sassn_jax import data

ROOT = Path(__file__).parents[2]
CLASSES = ("[/red]", "[bold]sky", ":smile:", "Straße")
NAME = "w[/b]:smile:ö"


def run(
    home: Path, verb: str, *flags: str, stdout: Any = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{verb}", *flags],
        cwd=ROOT,
        env={
            **os.environ,
            "HOME": str(home),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
            "PYTHONIOENCODING": "ascii",
            "COLUMNS": "60",
            **environment,
        },
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a user's home folder with a prepared dataset, a recipe and a list of ids."""
    home = tmp_path_factory.mktemp("home")
    source = home / "source"
    for kind, shape in (("images", (40, 48, 3)), ("labels", (40, 48))):
        (source / kind).mkdir(parents=True)
        for id_ in "abc":
            Image.fromarray(np.zeros(shape, np.uint8)).save(source / kind / f"{id_}.png")
    for name, lines in {"classes": CLASSES, "train": "ab", "val": "c"}.items():
        (source / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    data.prepare("folder", source, home / "data")
    (home / "ids.txt").write_text("a\nb\n")
    (home / "recipe.py").write_text((ROOT / "configs" / "scenes.py").read_text())
    return home


@pytest.fixture(scope="module")
def trained(home: Path) -> subprocess.CompletedProcess:
    """Returns what a run of one step, all of whose files are at home, has printed."""
    return run(
        home,
        "train",
        "--config=~/recipe.py:method=supervised,labels=~/ids.txt",
        "--config.dataset=folder",
        "--config.data_dir=~/data",
        "--config.num_steps=1",
        "--config.batch_size=1",
        "--config.crop_size=(40, 48)",  # of whole images, so that there is one shape to compile
        f"--workdir=~/{NAME}",
    )


def test_a_run_is_trained_at_home_under_any_name(home, trained):
    """The names are no markup of Rich's, and the terminal has no `ö`."""
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr == ""
    assert trained.stdout.startswith("b]:smile:?: folder supervised, 2 images labelled, ")
    assert f"; {home}/w[/b]:smile:?\n" in trained.stdout
    assert f"--workdir='{home}/w[/b]:smile:?'\n" in trained.stdout  # to be pasted
    assert (home / NAME / "eval_val.json").exists()
    assert json.loads((home / NAME / "config.json").read_text())["data_dir"] == "~/data"
    assert not (ROOT / "~").exists()


def test_scores_are_printed_before_they_are_written(home, trained):
    path = home / NAME / "eval_val.json"
    path.unlink()
    path.mkdir()  # in the place of a folder that is read-only, which root could write
    scored = run(home, "evaluate", f"--workdir=~/{NAME}")
    assert scored.returncode == 2
    printable = str(path).encode("ascii", "replace").decode()
    (line,) = scored.stderr.splitlines()
    assert line == f"evaluate: {printable}: Is a directory"
    title, *table = scored.stdout.splitlines()  # which is wider than the terminal
    assert title == f"{Path(printable).parent}, step 1, val"
    rows = [row.split("|") for row in table]
    names = [row[1].strip() for row in rows if len(row) == 4]
    assert names[1:6] == ["[/red]", "[bold]sky", ":smile:", "Stra?e", "mIoU"]


def test_scores_that_cannot_be_printed_are_written(home, trained):
    """As where they are piped to `head`, which reads a line and goes."""
    path = home / NAME / "eval_train.json"
    with open("/dev/full", "w") as full:
        scored = run(home, "evaluate", f"--workdir=~/{NAME}", "--split=train", stdout=full)
    assert scored.returncode != 0
    assert json.loads(path.read_text())["step"] == 1


def test_an_export_is_written_at_home(home, trained):
    exported = run(home, "export", f"--workdir=~/{NAME}", "--output=~/model.safetensors")
    assert exported.returncode == 0, exported.stderr
    assert (home / "model.safetensors").is_file()


HAS_GPU = any(device.platform == "gpu" for device in jax.devices())


@pytest.mark.parametrize(
    ("platform", "verb", "flags"),
    [
        pytest.param(
            "cuda",
            "train",
            ("--config=configs/scenes.py",),
            marks=pytest.mark.skipif(HAS_GPU, reason="there is a GPU"),
        ),
        ("abacus", "reproduce", ("--table=5", "--dataset=scenes", "--seeds=1")),
    ],
)
def test_a_platform_that_is_not_there_is_one_line(tmp_path, platform, verb, flags):
    workdir = tmp_path / "run"
    result = run(tmp_path, verb, *flags, f"--workdir={workdir}", JAX_PLATFORMS=platform)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{verb}: JAX_PLATFORMS={platform}: JAX cannot use it here (")
    assert line.endswith("call `make cuda` or pip install 'sassn_jax[cuda]'")
    assert not workdir.exists()
