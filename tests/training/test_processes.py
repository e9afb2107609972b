"""A run in several processes of this machine, and on several devices: the result of one on one."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sassn_jax import processes
from sassn_jax.errors import InputError
from tests.training.many import finish, largest_difference, named, read_state, run, start

CONFIG = Path(__file__).parents[2] / "configs" / "scenes.py"
SASSN = (
    f"--config={CONFIG}:method=sassn,labels=1/4",
    "--config.num_steps=20",
    "--config.loss.semi_start=5",
    "--config.batch_size=8",
    "--config.crop_size=(32, 48)",
    "--config.log_every=5",
    "--config.eval_every=20",
    "--config.checkpoint_every=10",
)
LIMITS = {"float32": 1e-4, "float64": 1e-9}


def train(workdir: Path, *arguments: str, dtype: str = "float32", **options):
    x64 = {"JAX_ENABLE_X64": "1"} if dtype == "float64" else {}
    return run("train", *SASSN, f"--workdir={workdir}", *arguments, **options, **x64)


def check_alike(ours: Path, theirs: Path, dtype: str) -> None:
    """Compares the last parameters array by array, and the scores."""
    states = [
        {
            name: x
            for name, x in read_state(workdir, 20).items()
            if ".params." in name or ".collections." in name
        }
        for workdir in (ours, theirs)
    ]
    assert next(x for x in states[0].values()).dtype == dtype
    if dtype == "float32":
        # D's biases begin at 0 and are still below 1e-4; rounding is large beside them.
        for name in states[0]:
            np.testing.assert_allclose(states[0][name], states[1][name], LIMITS[dtype], 1e-7, name)
    else:
        assert largest_difference(*states) < LIMITS[dtype]
    scores = [json.loads((workdir / "eval_val.json").read_text()) for workdir in (ours, theirs)]
    assert scores[0]["iou"] == pytest.approx(scores[1]["iou"], abs=1e-4)


def test_two_processes_train_what_one_does(supervised, workdir):
    _config, state, alone = supervised
    ended = run(
        "train",
        f"--config={CONFIG}:method=supervised,labels=1/8",
        "--config.num_steps=2",
        "--config.batch_size=2",
        "--config.crop_size=(32, 48)",
        f"--workdir={workdir}",
        processes=2,
    )
    assert "on 2 x cpu of 2 processes" in ended[0][1]
    assert "step" not in ended[1][1]  # it is silent
    trained = dict(named(state.generator.params))
    ours = read_state(workdir, 2)
    for name, x in trained.items():
        np.testing.assert_allclose(ours[f"generator.params.{name}"], x, 1e-4, 1e-7)
    scores = [json.loads((folder / "eval_val.json").read_text()) for folder in (workdir, alone)]
    assert scores[0]["iou"] == pytest.approx(scores[1]["iou"], abs=1e-6, nan_ok=True)
    assert len((workdir / "metrics.jsonl").read_text().splitlines()) == 3  # one process writes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The runs of one process on one device, by type of number."""
    folder = tmp_path_factory.mktemp("alone")
    for dtype in LIMITS:
        train(folder / dtype, dtype=dtype)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shard_params", [False, True])
@pytest.mark.parametrize(("processes", "devices"), [(1, 2), (1, 4), (1, 8), (2, 1), (4, 1), (2, 2)])
def test_the_result_is_that_of_one_device(alone, workdir, processes, devices, shard_params, dtype):
    train(
        workdir,
        f"--config.parallel.shard_params={shard_params}",
        dtype=dtype,
        processes=processes,
        devices=devices,
    )
    check_alike(workdir, alone / dtype, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"processes": 2}, {"devices": 1}),
        ({"devices": 1}, {"processes": 2}),
        ({"processes": 2}, {"processes": 4}),
        ({"devices": 4}, {"processes": 2, "devices": 1}),
    ],
)
def test_a_run_goes_on_with_another_number_of_processes_and_devices(alone, workdir, first, then):
    train(workdir, "--config.parallel.shard_params=True", dtype="float64", **first)
    shutil.rmtree(workdir / "checkpoints" / "20")
    (workdir / "eval_val.json").unlink()
    ended = train(workdir, dtype="float64", **then)
    assert "from step 10 to 20" in ended[0][1]
    check_alike(workdir, alone / "float64", "float64")


LONG = (*SASSN, "--config.num_steps=150", "--config.eval_every=1000", "--config.log_every=5")


def wait_for_step(workdir: Path, step: int) -> None:
    for _ in range(600):
        metrics = workdir / "metrics.jsonl"
        if metrics.exists() and f'{{"step": {step},' in metrics.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"step {step} was not reached")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of two processes."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    run("train", *LONG, f"--workdir={workdir}", processes=2)
    return read_state(workdir, 150)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_the_end_of_one_process_ends_the_other_and_both_go_on(undisturbed, workdir, killed):
    arguments = ("train", *LONG, f"--workdir={workdir}")
    started = start(*arguments, processes=2)
    wait_for_step(workdir, 30)
    started[killed].send_signal(signal.SIGKILL)
    began = time.monotonic()
    ended = finish(started, limit=60)
    assert time.monotonic() - began < 60
    code, _, errors = ended[1 - killed]
    assert code != 0
    # JAX's own message, where its thread is faster.
    assert "another process of this run has ended" in errors or "another task died" in errors
    run(*arguments, processes=2)
    for name, x in read_state(workdir, 150).items():
        np.testing.assert_array_equal(x, undisturbed[name], name)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(undisturbed, workdir):
    arguments = ("train", *LONG, f"--workdir={workdir}")
    started = start(*arguments, processes=2)
    wait_for_step(workdir, 30)
    started[1].terminate()
    texts = []
    for code, _, errors in finish(started):
        assert code == 75, errors
        texts.append(errors[errors.index("after step") :])
    assert texts[0] == texts[1]
    run(*arguments, processes=2)
    for name, x in read_state(workdir, 150).items():
        np.testing.assert_array_equal(x, undisturbed[name], name)


SUPERVISED = (
    f"--config={CONFIG}:method=supervised,labels=1/8",
    "--config.num_steps=2",
    "--config.batch_size=2",
    "--config.crop_size=(32, 48)",
    "--config.loss.semi_start=4",
)  # as the fixture's


def mounting(mount: str) -> tuple[str, ...]:
    """Returns a command that starts another one with a mount that no other process sees."""
    alone = ("unshare", "--mount", "sh", "-c")
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, mount], capture_output=True).returncode
    ):
        pytest.skip("mounting is not allowed here")
    return (*alone, f'{mount} && exec "$@"', "sh")


@pytest.mark.slow
def test_a_checkpoint_that_one_host_cannot_read_is_set_aside_by_all(supervised_run, tmp_path):
    """The second process has a mount of its own, in which a bit of a file is another."""
    _config, state, workdir = supervised_run
    whole = workdir / "checkpoints" / "2" / "state" / "manifest.ocdbt"
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad").write_bytes(content)
    second = mounting(f"mount --bind '{tmp_path / 'bad'}' '{whole}'")
    ended = run("train", *SUPERVISED, f"--workdir={workdir}", processes=2, before_second=second)
    assert "2: is damaged (as process 1 reads it) and set aside as damaged_2;" in ended[0][1]
    assert sorted(os.listdir(workdir / "checkpoints")) == ["0", "2", "damaged_2"]
    trained = dict(named(state.generator.params))
    ours = read_state(workdir, 2)
    for name, x in trained.items():
        np.testing.assert_allclose(ours[f"generator.params.{name}"], x, 1e-4, 1e-7)


@pytest.mark.slow
def test_a_host_that_does_not_see_the_same_checkpoints_is_refused(supervised_run):
    _config, _state, workdir = supervised_run
    second = mounting(f"mount -t tmpfs none '{workdir / 'checkpoints'}'")
    arguments = ("train", *SUPERVISED, f"--workdir={workdir}")
    for code, _, errors in finish(start(*arguments, processes=2, before_second=second), limit=90):
        assert code == 2
        assert "process 1 of 2: has another list of checkpoints than process 0;" in errors
    assert sorted(os.listdir(workdir / "checkpoints")) == ["0", "2"]


@pytest.mark.slow
def test_evaluation_is_shared_out(alone, workdir):
    shutil.copytree(alone / "float32", workdir)
    texts = [
        run("evaluate", f"--workdir={workdir}", "--split=test", processes=count)[0][1]
        for count in (1, 2, 4)
    ]
    tables = [text[text.index("┏") :] for text in texts]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.slow
def test_processes_with_other_commands_are_refused(workdir):
    started = start(
        "train", *SASSN, f"--workdir={workdir}", processes=2, of_second=("--config.seed=1",)
    )
    errors = "".join(errors for code, _, errors in finish(started, limit=90) if code == 2)
    assert "process 1 of 2: has another config than process 0" in errors
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID: not set; expected a whole number"),
        ({"JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES: not set; expected a whole number"),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2", "JAX_COORDINATOR_ADDRESS": "a:1"},
            "JAX_PROCESS_ID='2'; expected less than JAX_NUM_PROCESSES=2",
        ),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "JAX_COORDINATOR_ADDRESS": "a"},
            "JAX_COORDINATOR_ADDRESS='a'; expected HOST:PORT",
        ),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, "JAX_NUM_PROCESSES: not set"),
    ],
)
def test_a_wrong_environment_is_one_line(monkeypatch, environment, message):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=re.escape(message)), processes.joined():
        pass


def test_a_single_process_is_connected_with_nothing(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "a,b")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with processes.joined():
        assert not jax.distributed.is_initialized()
    assert list(processes.share(5)) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_coordinator_that_is_not_there_is_one_line(workdir):
    first, second = start("train", *SASSN, f"--workdir={workdir}", processes=2, PATCH_WAIT="3")
    first.kill()
    first.communicate()  # which closes its pipes
    ((code, _, errors),) = finish([second])
    assert code == 2
    assert "did not come at 127.0.0.1:" in errors
    assert "within 3 seconds" in errors
