"""A cell is trained and scored as it is asked for, and goes on where it was stopped."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.reproduction import results, running
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.scheduling import run_cells
from sassn_jax.errors import InputError, UnfitError
from sassn_jax.training.loop import Loop
from tests.experiments.reproduction.conftest import TINY
from tests.training.conftest import make_runs_small

ROOT = Path(__file__).parents[3]
RECIPE = Recipe("scenes", overrides=TINY)
CELL = Cell("scenes", "supervised", "1/8", 1)
SCORES = {"split": "test", "miou": 0.5, "overrides": {}}


def test_lines_that_were_cut_short_are_passed_over(tmp_path, stub, said):
    folder = results.folder_of(tmp_path, CELL)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a{"step": 3}\n{"st')
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert results.read(folder)["health"] == {"step": 1, "a": 2.0}


def test_scores_are_of_this_calls_eval(tmp_path, stub):
    """Also where the training began with another, or with the data in another place."""
    folder = results.folder_of(tmp_path, CELL)
    assert run_cells(tmp_path, [CELL], RECIPE, print) == 0
    (folder / "config.json").write_text(json.dumps(RECIPE.config(CELL).to_dict()))
    mirrored = Recipe("scenes", "DATA", overrides={**TINY, "eval.mirror": True})
    with pytest.raises(InputError, match=r"was scored with eval=.*'mirror': False.*remove result"):
        run_cells(tmp_path, [CELL], mirrored, print)
    (folder / "result.json").unlink()
    assert run_cells(tmp_path, [CELL], mirrored, print) == 0
    result = results.read(folder)
    assert result["eval"]["mirror"] is True
    assert stub[2]["eval.mirror"] is True
    assert stub[2]["data_dir"] == "DATA"


def test_a_cell_of_which_processes_die_fails(tmp_path, stub, said, monkeypatch):
    calls, _, _ = stub
    folder = results.folder_of(tmp_path, CELL)

    def die(config, workdir):
        assert results.read(workdir, "begun.json") is not None
        raise SystemExit  # as the end of the process, but for what is left behind

    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    monkeypatch.setattr(running, "train_and_evaluate", die)
    for deaths in range(running.DEATHS):
        with pytest.raises(SystemExit):
            run_cells(tmp_path, [CELL], RECIPE, said.append)
        assert results.read(folder, "begun.json") == {"step": 0, "deaths": deaths}
    monkeypatch.undo()
    other = dataclasses.replace(CELL, seed=2)
    monkeypatch.setattr(running, "train_and_evaluate", lambda config, workdir: calls.append(config))
    monkeypatch.setattr(running, "evaluate_run", lambda *args, **kw: dict(SCORES))
    run_cells(tmp_path, [CELL, other], RECIPE, said.append)
    assert results.read(folder)["error"].startswith("3 processes were killed at it, none of which")
    assert [config.seed for config in calls] == [2]
    assert not (folder / "begun.json").exists()
    run_cells(tmp_path, [CELL], RECIPE, said.append)  # tries anew
    assert [config.seed for config in calls] == [2, 1]


def test_a_process_that_dies_further_on_counts_from_one(tmp_path, monkeypatch):
    for step, deaths in ((0, 0), (0, 1), (2, 1), (2, 2)):
        running._count_deaths(tmp_path, step)
        assert results.read(tmp_path, "begun.json") == {"step": step, "deaths": deaths}
    with pytest.raises(UnfitError, match="none of which came beyond step 2"):
        running._count_deaths(tmp_path, 2)


def test_a_cell_that_was_killed_goes_on(tmp_path):
    """By SIGKILL, after a checkpoint: the next process takes it over from there."""
    script = (
        "import pathlib, sys, jax, pytest\n"
        "from experiments.reproduction.scheduling import run_cells\n"
        "from tests.experiments.reproduction.test_running import CELL, RECIPE\n"
        "from tests.training.conftest import make_runs_small\n"
        "jax.config.update('jax_disable_most_optimizations', True)\n"
        "make_runs_small(pytest.MonkeyPatch())\n"
        "sys.exit(run_cells(pathlib.Path(sys.argv[1]), [CELL], RECIPE, print))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    folder = results.folder_of(tmp_path, CELL)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and not (folder / "checkpoints" / "2").exists():
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert results.read(folder) is None
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, stdout=subprocess.DEVNULL)
    result = results.read(folder)
    assert (result["step"], result["attempts"]) == (6, 1)
    assert result["resumed_at"] >= 2


@pytest.mark.usefixtures("fast_compile")
def test_a_cell_that_was_stopped_goes_on(tmp_path, monkeypatch, said):
    make_runs_small(monkeypatch)
    log = Loop._log

    def stop(self, step, values):
        log(self, step, values)
        if step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_log", stop)
    with pytest.raises(KeyboardInterrupt):
        run_cells(tmp_path, [CELL], RECIPE, said.append)
    monkeypatch.setattr(Loop, "_log", log)
    folder = results.folder_of(tmp_path, CELL)
    assert results.read(folder) is None

    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    result = results.read(folder)
    assert (result["resumed_at"], result["step"], result["seed"]) == (4, 6, 1)
    assert result["split"] == "test"
    assert result["health"]["step"] == 6
    assert result["health"]["loss/cross_entropy"] > 0
    assert not any(name.startswith("val") for name in result["health"])
    assert result.keys() >= {"miou", "iou", "seconds", "device", "versions"}
    cores = len(os.sched_getaffinity(0))
    assert result["device"].endswith(" (1 core)" if cores == 1 else f" ({cores} cores)")
    assert (result["weights"], result["changes"]["num_steps"]) == ("random", 6)
    assert result["eval"]["mirror"] is False
