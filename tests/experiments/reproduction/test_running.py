"""A cell is trained and scored as it is asked for, and goes on where it was stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.reproduction import results, running
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.scheduling import run_cells
from sassn_jax.errors import InputError, OccupiedError, UnfitError
from sassn_jax.training.summaries import Writer
from tests.experiments.reproduction.conftest import TINY
from tests.training.conftest import make_networks_tiny, make_runs_small

ROOT = Path(__file__).parents[3]
RECIPE = Recipe("scenes", overrides=TINY)
CELL = Cell("scenes", "supervised", "1/8", 1)


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


def test_cells_that_kill_their_processes_do_not_block_the_others(tmp_path):
    """Two of three, in a loop as a script has it: each is tried three times, in all calls."""
    script = (
        "import os, pathlib, sys\n"
        "from experiments.reproduction import running\n"
        "from experiments.reproduction.cells import Cell, Recipe\n"
        "from experiments.reproduction.scheduling import run_cells\n"
        "def train_and_evaluate(config, workdir):\n"
        "    if config.method != 'sn':\n"
        "        os._exit(9)\n"
        "running.train_and_evaluate = train_and_evaluate\n"
        "scores = {'split': 'test', 'miou': 0.5, 'overrides': {}}\n"
        "running.evaluate_run = lambda *args, **options: dict(scores)\n"
        "cells = [Cell('scenes', method, '1/8', 0) for method in ('sa', 'sassn', 'sn')]\n"
        "for _ in range(7):\n"  # processes that need not import all of this again
        "    if child := os.fork():\n"
        "        _, status = os.waitpid(child, 0)\n"
        "        print('code', os.waitstatus_to_exitcode(status), flush=True)\n"
        "    else:\n"
        "        os._exit(run_cells(pathlib.Path(sys.argv[1]), cells, Recipe('scenes'), print))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    codes = [int(code) for code in re.findall(r"^code (\d+)$", done.stdout, re.MULTILINE)]
    assert codes == [9] * 6 + [2]  # cells that have failed
    found = {
        method: results.read(results.folder_of(tmp_path, Cell("scenes", method, "1/8", 0)))
        for method in ("sa", "sassn", "sn")
    }
    assert found["sn"]["miou"] == 0.5
    for method in ("sa", "sassn"):
        assert found[method]["error"].startswith("3 processes in a row were killed at step ")


def test_deaths_are_counted_until_one_comes_further(tmp_path):
    def begin(step, began):
        return running._counting_deaths(tmp_path, step, began)

    def noted():
        known = results.read(tmp_path, running.BEGUN)
        return known and (known["step"], known["deaths"], known["began"])

    killed = []
    for began, (step, deaths) in enumerate(((0, 0), (0, 1), (2, 1), (2, 2))):
        killed.append(begin(step, str(began)))
        killed[-1].__enter__()
        assert noted() == (step, deaths, str(began))
    with pytest.raises(UnfitError, match=r"killed at step 2; .* Remove .*begun\.json"):
        begin(2, "4").__enter__()
    with begin(3, "5"):
        assert noted() == (3, 1, "5")
    assert noted() is None
    with pytest.raises(KeyboardInterrupt), begin(3, "6"):
        raise KeyboardInterrupt
    assert noted() is None
    with pytest.raises(OccupiedError), begin(3, "7"):  # whose owner may yet be killed
        raise OccupiedError("training there")
    with begin(3, "8"), begin(3, "9"):  # the second has taken it over, and is killed
        assert noted() == (3, 2, "9")
        (tmp_path / running.BEGUN).write_text(json.dumps({"began": "9", "step": 3, "deaths": 2}))


def test_a_cell_that_was_killed_goes_on(tmp_path):
    """By SIGKILL, after a checkpoint: the next process takes it over from there."""
    script = (
        "import pathlib, sys, jax, pytest\n"
        "from experiments.reproduction.scheduling import run_cells\n"
        "from tests.experiments.reproduction.test_running import CELL, RECIPE\n"
        "from tests.training.conftest import make_networks_tiny, make_runs_small\n"
        "jax.config.update('jax_disable_most_optimizations', True)\n"
        "make_runs_small(pytest.MonkeyPatch())\n"
        "make_networks_tiny(pytest.MonkeyPatch())\n"
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
    make_networks_tiny(monkeypatch)

    def stop(self, step, values, write=Writer.scalars):
        write(self, step, values)
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "scalars", stop)
        with pytest.raises(KeyboardInterrupt):
            run_cells(tmp_path, [CELL], RECIPE, said.append)
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
