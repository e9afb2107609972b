"""Cells are run once, go on where they were stopped, and do not take others down with them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.reproduction import results, running
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.running import run_cells
from sassn_jax.errors import InputError, TrainingError
from sassn_jax.training.loop import Loop
from tests.experiments.reproduction.conftest import TINY
from tests.experiments.reproduction.shared_cells import CELLS
from tests.training.conftest import FEW_IMAGES

ROOT = Path(__file__).parents[3]
RECIPE = Recipe("scenes", overrides=TINY)
CELL = Cell("scenes", "supervised", "1/8", 1)


def test_processes_share_the_cells(tmp_path):
    logs = [tmp_path / f"{i}.jsonl" for i in range(2)]
    command = [sys.executable, "-m", "tests.experiments.reproduction.shared_cells", str(tmp_path)]
    processes = [
        subprocess.Popen([*command, str(log)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for log in logs
    ]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    own = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
    assert all(own), "one process has done everything"
    names = [name for lines in own for name, _, _ in lines]
    assert sorted(names) == sorted(cell.name for cell in CELLS)  # each once


@pytest.fixture
def stub(monkeypatch):
    """Stands in for training: notes the calls, and raises what it is told to, once each."""
    calls, errors = [], []

    def train_and_evaluate(config, workdir):
        calls.append((config.method, config.seed))
        if errors and (error := errors.pop(0)) is not None:
            raise error

    monkeypatch.setattr(running, "train_and_evaluate", train_and_evaluate)
    scores = {"split": "test", "step": 6, "miou": 0.5, "iou": {"wall": 0.5}}
    monkeypatch.setattr(running, "evaluate_run", lambda workdir, split: scores)
    return calls, errors


def test_a_failed_cell_is_recorded_and_tried_again(tmp_path, stub, said):
    calls, errors = stub
    cells = [Cell("scenes", method, "1/8", 0) for method in ("sa", "sn", "unheard_of", "sassn")]
    errors += [TrainingError("step 3: a loss is nan"), MemoryError(), None]
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 3
    assert calls == [("sa", 0), ("sn", 0), ("sassn", 0)]
    found = [results.read(results.folder_of(tmp_path, cell)) for cell in cells]
    assert [result.get("error_kind") for result in found] == [
        "TrainingError",
        "MemoryError",
        "ValueError",
        None,
    ]
    assert found[0]["error"] == "step 3: a loss is nan"
    assert found[1]["error"] == "no reason given"
    assert found[2]["error"].startswith("method='unheard_of': expected one of")
    assert any("failed: step 3" in text for text in said)

    assert run_cells(tmp_path, cells[:2] + cells[3:], RECIPE, said.append) == 0
    assert calls[3:] == [("sa", 0), ("sn", 0)]  # and not the one that was finished
    assert "error" not in results.read(results.folder_of(tmp_path, cells[0]))


def test_what_another_process_has_failed_in_meanwhile_is_not_tried_again(tmp_path, stub, said):
    calls, _ = stub
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in (0, 1)]

    def say(text):
        said.append(text)  # while this process runs the first, another fails in the second
        folder = results.folder_of(tmp_path, cells[1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text('{"error": "boom", "error_kind": "OSError"}')

    assert run_cells(tmp_path, cells, RECIPE, say) == 1
    assert calls == [("sa", 0)]


def test_a_cell_of_another_config_is_an_error_and_stays_as_it_is(tmp_path, stub):
    folder = results.folder_of(tmp_path, CELL)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(RECIPE.config(CELL).to_dict()))
    (folder / "result.json").write_text('{"miou": 0.5}')
    assert run_cells(tmp_path, [CELL], RECIPE, print) == 0
    other = Recipe("scenes", overrides={**TINY, "num_steps": 7})
    with pytest.raises(InputError, match="num_steps was 6, is 7"):
        run_cells(tmp_path, [CELL], other, print)
    assert stub[0] == []
    assert (folder / "result.json").read_text() == '{"miou": 0.5}'


def test_who_loses_its_claim_leaves_the_cell_to_the_other(tmp_path, monkeypatch, said):
    folder = results.folder_of(tmp_path, CELL)

    def take_over(workdir, cell, recipe):
        """The other process finishes the cell while this one stands still."""
        folder.mkdir(parents=True)
        (folder / "result.json").write_text('{"miou": 0.5}')
        claims[0].lost = True
        raise KeyboardInterrupt

    claims = []
    acquire = running.Claims.acquire
    monkeypatch.setattr(
        running.Claims, "acquire", lambda *args: claims.append(acquire(*args)) or claims[0]
    )
    monkeypatch.setattr(running, "run_cell", take_over)
    monkeypatch.setattr(running, "LOOK_EVERY", 0.0)
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert any("another took it over" in text for text in said)


@pytest.mark.usefixtures("fast_compile")
def test_a_cell_that_was_stopped_goes_on(tmp_path, monkeypatch, said):
    monkeypatch.setattr("sassn_jax.data.scenes.SPLIT_SIZES", FEW_IMAGES)
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
