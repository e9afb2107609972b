"""The commands as a user types them."""

import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import scenes
from sassn_jax import data, methods
from sassn_jax.commands import command
from sassn_jax.conversion.exporting import write_export
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from sassn_jax.recipes import parse
from tests.commands import forked
from tests.training.many import read_state
from tests.trees import random_variables
from tests.weights.test_resnet import to_file

ROOT = Path(__file__).parents[2]
TINY = (
    "--config=configs/scenes.py:method=sassn,labels=1/8",
    "--config.num_steps=6",
    "--config.batch_size=2",  # of whole images, so that crops and images are one shape to compile
    "--config.log_every=1",
    "--config.eval_every=6",
    "--config.checkpoint_every=2",
    "--config.loss.semi_start=2",
)


# `sassn train`, and `sassn` with all of its verbs, on few images with a network that compiles in no
# time. tests/experiments/test_terminal.py trains, scores and exports a ResNet.
SMALL_TRAIN, SMALL = "tests.training.tiny_train", "tests.training.tiny_command"


def start(module: str, *flags: str, writes_cache: bool = True, **kwargs) -> subprocess.Popen:
    environment = {
        **os.environ,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if writes_cache else "1000",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(verb: str, *flags: str) -> subprocess.CompletedProcess:
    return finish(start(f"experiments.{verb}", *flags))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the workdir of a run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    result = finish(start(SMALL_TRAIN, *TINY, f"--workdir={workdir}"))
    assert result.returncode == 0, result.stderr
    return workdir


def test_a_killed_run_ends_bit_identical(finished, tmp_path):
    """Two processes load its images; `training/test_checkpoint.py` has runs without any."""
    workdir = tmp_path / "run"
    flags = (*TINY, "--config.loader_workers=2", f"--workdir={workdir}")
    step = random.randint(1, 5)
    process = start(SMALL_TRAIN, *flags, start_new_session=True)
    try:
        written = workdir / "metrics.jsonl"
        while process.poll() is None:
            if written.exists() and len(written.read_text().splitlines()) >= step:
                break
            time.sleep(0.01)
        else:
            pytest.fail(process.stderr.read())
    finally:
        # The loader's processes die with it, as they would with the machine.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    result = finish(start(SMALL_TRAIN, *flags))
    assert result.returncode == 0, result.stderr
    ours, theirs = read_state(workdir, 6), read_state(finished, 6)
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        np.testing.assert_array_equal(x, theirs[name], f"{name}, killed after step {step}")


def test_output_to_a_log_is_short_and_ends_with_the_score(finished, tmp_path):
    result = finish(start(SMALL, "train", *TINY, f"--workdir={finished}"))
    assert result.returncode == 0
    assert result.stderr == ""
    result = finish(start(SMALL, "evaluate", f"--workdir={finished}", "--split=test"))
    assert result.returncode == 0, result.stderr
    assert "gate_open" in result.stdout
    assert "mIoU" in result.stdout
    written = json.loads((finished / "eval_test.json").read_text())
    assert set(written) == {"split", "step", "miou", "pixel_accuracy", "iou", "left_out"}
    fields = ("--config.eval.scales=(0.5, 1)", "--config.eval.mirror", "--config.eval_batch_size=4")
    result = finish(start(SMALL, "evaluate", f"--workdir={finished}", "--split=val", *fields))
    assert result.returncode == 0, result.stderr
    written = json.loads((finished / "eval_val_overrides.json").read_text())
    assert written["overrides"] == {"eval.scales": [0.5, 1], "eval.mirror": True}


@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        (
            "train",
            ["--config=configs/scenes.py:method=gan"],
            "train: --config: method='gan': expected one of",
        ),
        ("train", ["--config=configs/scenes.py:mehtod=sa"], "'mehtod=sa': expected method=..."),
        ("train", ["--config=configs/scene.py"], "expected a file such as configs/camvid.py, "),
        (
            "train",
            ["--config", "configs/scenes.py"],
            "--config: expected =FILE after it, such as --config=configs/",
        ),
        ("train", ["--config=configs/common.py"], "the file has no get_config"),
        ("train", ["--config=README.md"], "--config=README.md: expected a file such as configs/"),
        (
            "train",
            ["--config=configs/scenes.py", "--config.batchsize=2"],
            "--config has no field batchsize; did you mean batch_size?",
        ),
        (
            "train",
            ["--config=configs/scenes.py", "--config.batch_size=two"],
            "two: expected a whole number",
        ),
        (
            "train",
            ["--config=configs/scenes.py", "--config.optimizer.lr=a"],
            "a: expected a number",
        ),
        ("train", ["--config=configs/scenes.py", "--nonsense"], "nonsense"),
        ("train", ["--config=configs/scenes.py:labels=2"], "--config.labels='2': expected a"),
        ("train", ["--config=configs/camvid.py"], "sassn prepare --dataset=camvid"),
        ("train", [], "--config: not given; see --help"),
        ("evaluate", [], "no config.json"),
        (
            "evaluate",
            ["--config.eval.scale=(1.0,)"],
            "evaluate: --config has no field eval.scale; did you mean eval.scales?",
        ),
        ("evaluate", ["--config.eval.mirror=maybe"], "mirror"),
        (
            "train",
            [*TINY, "--config.crop_size=(64, 64)", "--config.crop_size=(64, 96)"],
            "train: --config.crop_size: given 2 times; expected once, with all of its values",
        ),
        (
            "evaluate",
            ["--config.eval.scales=(0.75, 1.0)", "--config.eval.scales", "(1.0,)"],
            "evaluate: --config.eval.scales: given 2 times; expected once",
        ),
        ("reproduce", ["--table=6"], "reproduce: --table=6: expected one of 1, 2, 3, 4, 5, "),
        (
            "reproduce",
            ["--table=5", "--dataset=scenes", "--cells=*1-8*"],
            "--cells=*1-8*: matches none of the 48 cells, such as scenes_advsemiseg_1-2_seed0",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, verb, flags, message):
    result = forked.run(f"experiments.{verb}", *flags, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_an_empty_workdir_is_none(verb):
    result = forked.run(f"experiments.{verb}", *(TINY if verb == "train" else ()), "--workdir=")
    assert result.returncode == 2
    assert result.stderr == f"{verb}: --workdir: not given; see --help\n"


def test_an_exported_file(finished, tmp_path):
    output = tmp_path / "model.safetensors"
    result = finish(start(SMALL, "export", f"--workdir={finished}", f"--output={output}"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{output}: step 6, 8 classes\n"
    result = finish(start(SMALL, "evaluate", f"--workdir={output}", "--split=test"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "model_eval_test.json").exists()


def test_an_imported_file(tmp_path):
    source, output = tmp_path / "source.npz", tmp_path / "ours.safetensors"
    images = jnp.zeros((1, 33, 33, 3))
    trunk = random_variables(ResNet(ARCHITECTURES["resnet_tiny"]), images, train=False)
    arrays = {**to_file(source, trunk), "steps": np.zeros(3)}
    np.savez(source, **arrays)
    flags = (f"--source={source}", "--architecture=resnet_tiny", f"--output={output}")
    result = forked.run("experiments.import_weights", *flags)
    assert result.returncode == 2
    assert "steps (3,) has no place" in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    np.savez(source, **{"conv1.weight": arrays["conv1.weight"], "steps": arrays["steps"]})
    result = forked.run("experiments.import_weights", *flags)
    assert result.returncode == 2
    *listed, line = result.stderr.splitlines()
    assert len(listed) == 21
    assert listed[-1] == f"and {len(arrays) - 1 - 20} more"  # without `steps`, which was there
    assert all(" is missing" in difference for difference in listed[:-1])
    assert line.startswith("import_weights: ")
    assert f"{len(arrays) - 1} differ: {listed[0]}" in line
    np.savez(source, **{f"module._orig_mod.{name}": x for name, x in arrays.items()})
    result = forked.run("experiments.import_weights", *flags, "--allow=steps")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{output}: resnet_tiny, {len(arrays) - 1} arrays",
        "images: rgb, 0-255, minus (123.675, 116.28, 103.53), over (58.395, 57.12, 57.375)",
        "removed _orig_mod. from all names",
        "removed module. from all names",
        "left out: steps (3,)",
    ]


def test_benchmark_writes_what_it_shows(tmp_path):
    output = tmp_path / "step.json"
    config = "--config=configs/scenes.py:method=supervised"
    flags = (config, *TINY[1:], "--config.optimizer.name=sgd", "--steps=1", f"--output={output}")
    result = run("benchmark", "step", *flags)
    assert result.returncode == 0, result.stderr
    written = json.loads(output.read_text())
    assert written["ours"]["images_per_second"] > 0
    assert written["ours"]["peak_bytes"] > 0
    assert 0 <= written["input_wait_share"] <= 1
    assert ("torch" in written) == (importlib.util.find_spec("torch") is not None)
    assert ("ratio" in written) == ("torch" in written)

    result = forked.run("experiments.benchmark", "stpe", *TINY)
    assert result.returncode == 2
    assert "'stpe': expected one of step, inference, attention, then flags" in result.stderr


def test_benchmark_of_inference(tmp_path):
    output, model = tmp_path / "inference.json", tmp_path / "model.safetensors"
    config, info = parse(scenes.get_config("method=sassn")), data.load("scenes").info
    network = methods.create(config, info.num_classes).generator.network
    variables = random_variables(network, jnp.zeros((1, 33, 33, 3)), train=False)
    arrays = jax.tree.map(np.asarray, variables)
    write_export(model, arrays, config=config.to_dict(), info=info, step=1)
    flags = ("--batch_sizes=1,2", "--size=33,49", "--steps=2", f"--output={output}")
    result = run("benchmark", "inference", f"--workdir={model}", *flags)
    assert result.returncode == 0, result.stderr
    written = json.loads(output.read_text())
    assert written["size"] == [33, 49]
    assert [batch["batch_size"] for batch in written["batches"]] == [1, 2]
    has_torch = importlib.util.find_spec("torch") is not None
    for batch in written["batches"]:
        assert ("PyTorch" in batch["implementations"]) == has_torch
        assert ("ratio_to_torch" in batch) == has_torch
        for figures in batch["implementations"].values():
            seconds = figures["seconds"]
            assert 0 < seconds["least"] <= seconds["median"] <= seconds["most"]
            rate = batch["batch_size"] / seconds["median"]
            assert figures["images_per_second"] == pytest.approx(rate)
            assert figures["largest_difference"] < 1e-4  # the same network is timed


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_sizes=1,0", "--batch_sizes=1,0: expected whole numbers above 0"),
        ("--size=33", "--size=33: expected height,width such as 480,640"),
    ],
)
def test_benchmark_of_inference_that_cannot_be(flag, message):
    flags = ("inference", "--workdir=runs/mine", flag)
    result = forked.run("experiments.benchmark", *flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_benchmark_of_attention(tmp_path):
    output = tmp_path / "attention.json"
    flags = ("--shapes=2x9x4x8", "--dtypes=float32", "--steps=1")
    result = run("benchmark", "attention", *flags, f"--output={output}")
    assert result.returncode == 0, result.stderr
    assert "need a GPU" in result.stdout  # why triton has no figures
    written = json.loads(output.read_text())
    (case,) = written["cases"]
    assert case["peak_flops_per_second"] > 0
    assert (case["batch"], case["positions"], case["qk_width"], case["v_width"]) == (2, 9, 4, 8)
    assert case["implementations"]["blockwise"]["both_seconds"] > 0
    assert case["implementations"]["blockwise"]["scratch_bytes"] > 0
    has_torch = importlib.util.find_spec("torch") is not None
    assert ("ratio_to_sdpa" in case["implementations"]["blockwise"]) == has_torch
    assert ("PyTorch SDPA" in case["implementations"]) == has_torch


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--shapes=voc", "--shapes: 'voc': expected some of voc_sa1"),
        ("--shapes=1x2x0x4", "--shapes: '1x2x0x4': expected some of voc_sa1"),
        ("--implementations=flash", "--implementations: 'flash': expected some of triton"),
        ("--dtypes=", "--dtypes: '': expected some of float32"),
    ],
)
def test_benchmark_of_an_unknown_attention(flag, message):
    result = forked.run("experiments.benchmark", "attention", flag)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_a_workdir_that_cannot_be_written(tmp_path):
    result = forked.run("experiments.train", *TINY, "--workdir=/proc/run")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "/proc/run" in result.stderr


# Of split.json; of checkpoints, where tests/training/test_full_disk.py fills a disk for real.
@pytest.mark.parametrize("size", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_full_disk(tmp_path, size):
    """A limit on the size of files stands in for a full disk."""
    workdir = tmp_path / "run"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # The limit would cut short the files of the compilation cache too.
    flags = (*TINY, f"--workdir={workdir}")
    result = finish(start(SMALL_TRAIN, *flags, writes_cache=False, preexec_fn=limit))
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert str(workdir) in result.stderr
    # Nothing half-written is taken for a checkpoint: the same command then goes on.
    result = finish(start(SMALL_TRAIN, *flags))
    assert result.returncode == 0, result.stderr


def test_progress_is_told_in_lines_where_there_is_no_terminal(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 16.0, 16.0, 20.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock))
    with command.progress("scoring") as show:
        for done in (1, 2, 3):
            show(done, 3)
    assert capsys.readouterr().err == "scoring: 2/3\n"
