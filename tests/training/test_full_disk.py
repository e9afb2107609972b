"""A run on a disk that is full for a while, or to the end: a small tmpfs."""

import contextlib
import os
import re
import subprocess
import time

import pytest

from sassn_jax.training import parallel
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import assert_equal_bits, rows_of, tiny_config

pytestmark = [
    pytest.mark.usefixtures("small_runs", "tiny_networks"),
    # Of coroutines that Orbax leaves when a save fails.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def disk(tmp_path):
    """A folder with 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def config_of_12_steps():
    config = tiny_config("supervised")
    config.num_steps, config.log_every, config.checkpoint_every, config.eval_every = 12, 1, 2, 100
    return config


def fill(disk):
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def full_from(step, disk, monkeypatch, until=None):
    """Fills the disk before a step, and makes it free again before another."""
    steps = iter(range(1, 100))

    def put(batch, mesh, put_batch=parallel.put_batch):
        now = next(steps)
        if now == step:
            for _ in range(100):
                if (disk / "run" / "checkpoints" / f"{step - 2}").exists():
                    break
                time.sleep(0.1)
            fill(disk)
        if now == until:
            (disk / "filler").unlink()
        return put_batch(batch, mesh)

    monkeypatch.setattr(parallel, "put_batch", put)


def test_a_disk_that_is_full_for_a_while_costs_a_run_nothing(disk, workdir, monkeypatch, capsys):
    undisturbed = train_and_evaluate(config_of_12_steps(), workdir)
    capsys.readouterr()
    full_from(4, disk, monkeypatch, until=9)
    state = train_and_evaluate(config_of_12_steps(), disk / "run")
    assert_equal_bits(state, undisturbed)
    said = capsys.readouterr().out
    assert said.count("checkpoints cannot be written") == 1
    assert "step 2 is the last that is saved" in said
    assert said.count("checkpoints are written again") == 1
    assert said.count("the values of the run are kept in memory") == 1
    assert sorted(os.listdir(disk / "run" / "checkpoints")) == ["10", "12"]
    assert [row["step"] for row in rows_of(disk / "run")] == [*range(1, 13), 12]


def test_a_disk_that_is_full_at_the_end_is_an_error_and_costs_no_checkpoint(
    disk, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        full_from(4, disk, patch)
        with pytest.raises(OSError, match=rf"No space left .*{re.escape(str(disk))}"):
            train_and_evaluate(config_of_12_steps(), disk / "run")
    assert sorted(os.listdir(disk / "run" / "checkpoints")) == ["0", "2"]
    (disk / "filler").unlink()
    state = train_and_evaluate(config_of_12_steps(), disk / "run")
    assert int(state.step) == 12
    assert "from step 2 to 12" in capsys.readouterr().out
