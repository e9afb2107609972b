"""The paper's recipes at their full size, as a user runs them. `make test-full-size` runs these.

Images are generated, in the layout in which the datasets are published; the rest is as it is in
`configs/voc.py` and `configs/cityscapes.py`. Only that G takes a batch in two pieces: at once, the
step's arrays would need 22 GiB for VOC and 28 for Cityscapes on a CPU, where XLA undoes
`model.remat`. And that XLA does not put an operation as early as it could run beside others, as it
does there for the sake of many cores: with two, a piece of Cityscapes' takes 10 GiB in place of 14.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sassn_jax import data
from sassn_jax.data import cityscapes, voc2012_aug
from tests.data import published_cityscapes, published_voc

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 16  # GiB: what a machine of 24 may have left
STEPS = (
    "--config.accumulation=2",
    "--config.loss.semi_start=1",
    "--config.num_steps=3",
    "--config.log_every=1",
    "--config.checkpoint_every=1",
)
# On one device, as a user has it, and with nothing compiled before.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_FLAGS": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
}


def start(verb, *flags, log):
    """A command in a process of its own."""
    command = [sys.executable, "-m", f"experiments.{verb}", *flags]
    environment = {**os.environ, **ENVIRONMENT}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def wait(process):
    """The exit status of a process, and the most memory that it had, GiB."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_maxrss / 2**20


def check_run(name, num_classes, data_dir, folder, capsys):
    """Takes a step, is killed, goes on with two semi-supervised ones, and is scored twice.

    Of the last step the time is told, since the one before is compiled in its time.
    """
    workdir, log_path = folder / "run", folder / "log.txt"
    train = ("train", f"--config=configs/{name}.py", f"--config.data_dir={data_dir}", *STEPS)
    began = time.perf_counter()
    with log_path.open("w") as log:
        first = start(*train, f"--workdir={workdir}", log=log)
        while not (workdir / "checkpoints" / "1").exists():
            assert first.poll() is None, log_path.read_text()
            time.sleep(0.1)
        first.kill()
        _, labeled_memory = wait(first)
        code, memory = wait(start(*train, f"--workdir={workdir}", log=log))
        assert code == 0, log_path.read_text()
        own_score = (workdir / "eval_val.json").read_text()
        code, scoring_memory = wait(start("evaluate", f"--workdir={workdir}", log=log))
        assert code == 0, log_path.read_text()
    seconds = time.perf_counter() - began
    assert "from step 1 to 3" in log_path.read_text()

    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    rows = {row["step"]: row for row in lines if "loss/generator" in row}
    has_unlabeled = {step: "loss/self_training" in row for step, row in rows.items()}
    assert has_unlabeled == {1: False, 2: True, 3: True}
    assert (workdir / "eval_val.json").read_text() == own_score
    score = json.loads(own_score)
    assert (score["step"], len(score["iou"])) == (3, num_classes)
    images = 2 * json.loads((workdir / "config.json").read_text())["batch_size"]
    with capsys.disabled():
        print(
            f"\n{name}: peak memory {memory:.1f} GiB (with labelled images alone "
            f"{labeled_memory:.1f}, scoring {scoring_memory:.1f}), "
            f"{images / rows[3]['images_per_second']:.0f} s a step of {images} images, "
            f"{seconds:.0f} s in all"
        )
    assert max(memory, labeled_memory, scoring_memory) < MOST_MEMORY


@pytest.mark.slow
def test_voc(tmp_path, monkeypatch, capsys):
    sizes = {"train": len(published_voc.TRAIN), "val": len(published_voc.VAL)}
    monkeypatch.setattr(voc2012_aug, "SPLIT_SIZES", sizes)
    published_voc.write(tmp_path / "source", size=(375, 500))
    data.prepare("voc2012_aug", tmp_path / "source", tmp_path / "data")
    check_run("voc", 21, tmp_path / "data", tmp_path, capsys)


@pytest.mark.slow
def test_cityscapes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cityscapes, "CITIES", published_cityscapes.CITIES)
    published_cityscapes.write(tmp_path / "source", size=cityscapes.IMAGE_SIZE)
    data.prepare("cityscapes_512x1024", tmp_path / "source", tmp_path / "data")
    check_run("cityscapes", 19, tmp_path / "data", tmp_path, capsys)
