"""A long run takes no more of the machine at its end than at its beginning."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]
ROOT = Path(__file__).parents[2]
STEPS = 5000
RUN = f"""
import sys
import pytest
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config

config = tiny_config("sassn")
config.num_steps = {STEPS}
config.loss.semi_start = 100
config.loader_workers = 1
config.log_every = 50
config.eval_every = config.checkpoint_every = 250
with pytest.MonkeyPatch.context() as patch:
    make_runs_small(patch)
    make_networks_tiny(patch)
    train_and_evaluate(config, sys.argv[1])
"""


class Usage(NamedTuple):
    """What a process has taken of its machine."""

    resident: int  # kilobytes
    files: int
    threads: int
    programs: int  # that it has compiled since its start


def test_memory_files_threads_and_programs_do_not_grow(tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as stderr:
        # JAX then writes a line for each program that it compiles.
        environment = {**os.environ, "JAX_LOG_COMPILES": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, run], stderr=stderr, env=environment, cwd=ROOT
        )
        readings = []
        while process.poll() is None:
            step = _logged_step(run)
            if 500 <= step < STEPS:
                readings.append((step, _usage(process.pid, log)))
            time.sleep(0.2)
        assert process.returncode == 0, log.read_text()[-2000:]

    parts = [_medians(readings, start) for start in range(500, STEPS, 500)]
    print(*parts, sep="\n")
    begin, end = parts[0], parts[-1]
    assert end.resident <= 1.05 * begin.resident
    assert end.files <= begin.files
    assert end.threads <= begin.threads
    assert end.programs == begin.programs > 0


def _medians(readings: list[tuple[int, Usage]], start: int) -> Usage:
    """Of 500 steps: saving a checkpoint takes some more files and threads for a moment."""
    usages = [usage for step, usage in readings if start <= step < start + 500]
    return Usage(*map(int, map(median, zip(*usages, strict=True))))


def _logged_step(run: Path) -> int:
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return json.loads(whole[-1])["step"] if whole else 0


def _usage(process: int, log: Path) -> Usage:
    folder = Path("/proc") / str(process)
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    return Usage(
        resident=int(status["VmRSS"].split()[0]),
        files=len(list((folder / "fd").iterdir())),
        threads=int(status["Threads"]),
        programs=log.read_text().count("Compiling "),
    )
