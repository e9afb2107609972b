"""A run that is killed forty times ends as one that nothing disturbs: `make test-endure`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sassn_jax.prediction.run import load_run
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.workdir import Workdir
from tests.training.conftest import assert_equal_bits, rows_of

ROOT = Path(__file__).parents[2]
SEED = 0
EVENTS = [signal.SIGKILL] * 30 + [signal.SIGTERM] * 10
MOMENTS = ("starting", "training", "saving")
STEPS = 1500  # forty times 30, and some to end with
VARYING = ("images_per_second", "input_wait")
FLAGS = (
    "--config=configs/scenes.py:method=sassn,labels=1/8",
    f"--config.num_steps={STEPS}",
    "--config.batch_size=2",
    "--config.crop_size=(32, 48)",
    "--config.loss.semi_start=100",
    "--config.log_every=7",
    "--config.checkpoint_every=20",
    "--config.eval_every=100",
    "--config.loader_workers=2",
)
STOPPED = 75  # exit code of a run that has saved


class Machine:
    """Starts runs that share a /dev/shm of their own, so that what they leave in it is known."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment
        script = "mount -t tmpfs none /dev/shm && echo mounted && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        if self._holder.stdout.readline() != "mounted\n":
            pytest.skip("mounting a tmpfs is not allowed here")

    def start(self, workdir: Path, log: Path) -> subprocess.Popen:
        enter = ["nsenter", f"--target={self._holder.pid}", "--mount", f"--wd={ROOT}"]
        program = [sys.executable, "-m", "tests.training.tiny_train", *FLAGS]
        with log.open("a") as file:
            return subprocess.Popen(
                [*enter, *program, f"--workdir={workdir}"],
                env=self._environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def shared_memory(self) -> list[str]:
        return os.listdir(f"/proc/{self._holder.pid}/root/dev/shm")

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


def processes_of(session: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "sid,pid,stat,args"], capture_output=True, text=True)
    lines = [line.split(maxsplit=3) for line in listed.stdout.splitlines()[1:]]
    return [line[3] for line in lines if line[0] == str(session) and line[2][0] != "Z"]


def wait_until(condition, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def last_step(workdir: Path) -> int:
    """The step of the last whole row, 0 where there is none."""
    try:
        with (workdir / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8000))
            rows = file.read().split(b"\n")[:-1]
        return json.loads(rows[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0


def is_saving(workdir: Path) -> bool:
    try:
        return any("tmp" in name for name in os.listdir(workdir / "checkpoints"))
    except OSError:
        return False


def wait_for(moment: str, chance: float, workdir: Path, process: subprocess.Popen) -> None:
    """Waits for a moment of a run that has just been started; `chance` in [0, 1) varies it."""
    if moment == "starting":
        time.sleep(12 * chance)
        return

    def is_over(condition):
        return lambda: condition() or process.poll() is not None

    rows = workdir / "metrics.jsonl"
    before = rows.stat().st_ino if rows.exists() else None
    # A run that goes on writes this file anew.
    begins = is_over(lambda: rows.exists() and rows.stat().st_ino != before)
    assert wait_until(begins, 300)
    if moment == "saving":
        assert wait_until(is_over(lambda: is_saving(workdir)), 300)
        time.sleep(0.02 * chance)
    else:
        target = last_step(workdir) + 30 * chance
        assert wait_until(is_over(lambda: last_step(workdir) > target), 300)


def disturb(machine: Machine, workdir: Path, log: Path, number: int, rng: np.random.Generator):
    """Starts the run and sends it a signal; describes what came of it."""
    sent, moment = EVENTS[number], MOMENTS[rng.choice(3, p=(0.2, 0.4, 0.4))]
    process = machine.start(workdir, log)
    wait_for(moment, rng.random(), workdir, process)
    process.send_signal(sent)
    code = process.wait(120)
    allowed = {-sent} if sent == signal.SIGKILL else {STOPPED}
    if moment == "starting":
        allowed.add(-sent)  # before Python runs anything of ours
    assert code in allowed, (code, log.read_text()[-2000:])
    assert wait_until(lambda: not processes_of(process.pid), 30), processes_of(process.pid)
    assert wait_until(lambda: not machine.shared_memory(), 30), machine.shared_memory()
    folder = workdir / "checkpoints"
    saved = sorted(os.listdir(folder)) if folder.exists() else []
    return f"{sent.name} while {moment}: exit code {code}, checkpoints {' '.join(saved)}"


def scalars_of(workdir: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in VARYING} for row in rows_of(workdir)]


def files_of(workdir: Path) -> list[str]:
    names = (str(path.relative_to(workdir)) for path in workdir.rglob("*"))
    return sorted(name for name in names if not name.startswith(("events", "checkpoints/")))


@pytest.mark.slow
def test_a_run_that_is_killed_forty_times_ends_bit_identical(
    tmp_path, small_runs, tiny_networks, capsys
):
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    undisturbed, workdir, log = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "log"
    machine, rng, began = Machine(environment), np.random.default_rng(SEED), time.monotonic()
    try:
        assert machine.start(undisturbed, log).wait() == 0, log.read_text()
        for number in rng.permutation(len(EVENTS)):
            told = disturb(machine, workdir, log, number, rng)
            with capsys.disabled():
                print(f"{time.monotonic() - began:6.0f} s  {told}", flush=True)
        assert machine.start(workdir, log).wait() == 0, log.read_text()[-2000:]
        assert wait_until(lambda: not machine.shared_memory(), 30)
    finally:
        machine.close()
    runs = load_run(undisturbed), load_run(workdir)
    assert runs[1].step == STEPS
    assert_equal_bits(runs[0].state, runs[1].state)  # both players, and both optimizers
    assert scalars_of(workdir) == scalars_of(undisturbed)
    assert files_of(workdir) == files_of(undisturbed)
    kept = []
    for folder in (undisturbed, workdir):
        with Checkpoints(Workdir(folder), read_only=True) as checkpoints:
            kept.append((checkpoints.best_step, sorted(os.listdir(folder / "checkpoints"))))
    assert kept[0] == kept[1]
    scores = [
        json.loads(Workdir(folder).scores("val").read_text()) for folder in (undisturbed, workdir)
    ]
    assert scores[0] == scores[1]
