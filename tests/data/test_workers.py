"""Loader processes, and what becomes of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sassn_jax.data import workers
from sassn_jax.errors import UnfitError

ROOT = Path(__file__).parents[2]
# Prints the ids of its workers after the first batch, then of each batch that it took.
LOADING = """
import multiprocessing, sys, time
from sassn_jax.data.pipeline import train_batches
from tests.data.test_workers import Images, transform

if __name__ == "__main__":
    batches = train_batches(Images(), None, transform=transform, batch_size=1, seed=0, workers=2)
    try:
        next(batches)
        print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
        for _ in range(1000):
            next(batches)
            print("batch", flush=True)
            time.sleep(0.05)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""
# A folder of shared memory of its own, so that what is left in it is known.
ALONE = ("unshare", "--mount", "bash", "-c")


class Images:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"image": np.full((64, 64, 3), index, np.uint8), "label": None, "id": str(index)}


def transform(example, generator):
    return {"image": example["image"].astype(np.float32), "label": np.zeros((64, 64), np.int32)}


def can_mount() -> bool:
    done = subprocess.run([*ALONE, "mount -t tmpfs none /dev/shm"], capture_output=True)
    return done.returncode == 0


@pytest.fixture
def start():
    """Starts the program above; ends it and its group at the end."""
    if not can_mount():
        pytest.skip("mounting a tmpfs is not allowed here")
    started = []

    def begin(size="64m", end=""):
        script = f'mount -t tmpfs -o size={size} none /dev/shm && "$0" -c "$1"; {end}'
        process = subprocess.Popen(
            [*ALONE, script, sys.executable, LOADING],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_workers_and_their_memory_are_gone_after_their_parent_was_killed(start):
    waiting = "for i in {1..99}; do ls -A /dev/shm | grep -q . || break; sleep 0.1; done"
    process = start(end=f"{waiting}; ls -A /dev/shm")
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    assert process.stdout.readline() == "batch\n"
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)))
    out, _ = process.communicate(timeout=20)
    assert out.replace("batch\n", "") == ""


def test_workers_hear_no_signal_to_all_processes_and_a_killed_one_is_told_in_one_line(start):
    process = start()
    pids = [int(pid) for pid in process.stdout.readline().split()]
    for pid in pids:
        for number in workers.SIGNALS:
            os.kill(pid, number)
    for _ in range(30):  # more than were under way
        assert process.stdout.readline() == "batch\n"
    os.kill(pids[0], signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert error == (
        "UnfitError: loader_workers=2: a loader process was killed (SIGKILL), as is done where "
        "memory is short; fewer take less memory\n"
    )


def test_too_little_shared_memory_is_told_before_a_worker_starts(start):
    process = start(size="1m")
    out, error = process.communicate(timeout=30)
    assert out == ""
    assert error == (
        "UnfitError: loader_workers=2: the batches under way take up to 1.2 MiB of shared "
        "memory, and /dev/shm has 1.0 MiB free; --config.loader_workers=0 needs none, docker run "
        "--shm-size=2g gives more\n"
    )


@pytest.mark.parametrize(
    ("code", "named"),
    [(-7, "died of SIGBUS, which a full /dev/shm causes; --config.loader_w"), (3, "exit code 3;")],
)
def test_other_deaths_of_a_worker(code, named):
    error = RuntimeError(
        f"Worker process was terminated unexpectedly with exit code {code}. Search"
    )
    told = workers.death_of_worker(error, 2)
    assert isinstance(told, UnfitError)
    assert named in str(told)
    assert workers.death_of_worker(RuntimeError("something else"), 2) is None
