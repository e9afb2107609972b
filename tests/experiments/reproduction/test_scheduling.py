"""Cells are run once, by one of all processes, and do not take others down with them."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.reproduction import results, running, scheduling
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.claims import Claims
from experiments.reproduction.scheduling import run_cells
from sassn_jax.errors import InputError, OccupiedError, TrainingError, UnfitError
from sassn_jax.files import write_json
from tests.experiments.reproduction.conftest import TINY
from tests.experiments.reproduction.shared_cells import CELLS

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


def test_a_failed_cell_is_recorded_and_tried_again(tmp_path, stub, said):
    calls, errors, _ = stub
    cells = [Cell("scenes", method, "1/8", 0) for method in ("sa", "sn", "unheard_of", "sassn")]
    errors += [InputError("step 3: no such file"), MemoryError(), None]
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 3
    assert calls == [("sa", 0), ("sn", 0), ("sassn", 0)]
    found = [results.read(results.folder_of(tmp_path, cell)) for cell in cells]
    assert [result.get("error_kind") for result in found] == [
        "InputError",
        "MemoryError",
        "InputError",
        None,
    ]
    assert found[0]["error"] == "step 3: no such file"
    assert found[1]["error"] == "no reason given"
    assert found[2]["error"].startswith("method='unheard_of': expected one of")
    assert any("failed: step 3" in text for text in said)

    assert run_cells(tmp_path, cells[:2] + cells[3:], RECIPE, said.append) == 0
    assert calls[3:] == [("sa", 0), ("sn", 0)]  # and not the one that was finished
    assert "error" not in results.read(results.folder_of(tmp_path, cells[0]))


def test_a_run_that_diverged_is_a_result(tmp_path, stub, said):
    """Its cell would diverge again, at the same bits."""
    calls, errors, _ = stub
    errors.append(TrainingError("step 3: a loss is nan"))
    for _ in range(2):
        assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert len(calls) == 1
    assert results.read(results.folder_of(tmp_path, CELL))["error"] == "step 3: a loss is nan"
    assert f"{CELL.name}: diverged: step 3: a loss is nan" in said
    assert said[-1] == "cells: 1, of them finished: 1"


def fail_elsewhere(folder, **result):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"error": "boom", "error_kind": "OSError", "attempts": 1, **result}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("meanwhile", "tried"),
    [
        ({}, True),  # this machine may be able to
        ({"error_kind": "UnfitError"}, True),
        ({"error_kind": "InputError"}, False),
        ({"attempts": scheduling.ATTEMPTS}, True),  # of which one was made in an earlier call
        ({"attempts": scheduling.ATTEMPTS + 1}, False),
    ],
)
def test_what_others_have_failed_in_meanwhile(tmp_path, stub, said, meanwhile, tried):
    calls, _, _ = stub
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in (0, 1)]
    folder = results.folder_of(tmp_path, cells[1])
    fail_elsewhere(folder)

    def say(text):
        said.append(text)  # while this process runs the first, another fails in the second
        if len(said) == 1:
            fail_elsewhere(folder, error="boom again", **meanwhile)

    assert run_cells(tmp_path, cells, RECIPE, say) == (0 if tried else 1)
    assert calls == [("sa", 0), ("sa", 1)][: 1 + tried]


def test_a_method_that_does_not_fit_leaves_the_others_alone(tmp_path, stub, said):
    calls, errors, _ = stub
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in range(5)]
    cells += [Cell("scenes", "sn", "1/8", seed) for seed in range(2)]
    errors += [MemoryError()] * 3
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 5
    assert calls == [("sa", 0), ("sa", 1), ("sa", 2), ("sn", 0), ("sn", 1)]
    assert "sa: 3 cells in a row have failed; its others are left to other processes" in said
    errors += [MemoryError(), None, MemoryError(), MemoryError(), None]
    assert run_cells(tmp_path, cells[:5], RECIPE, said.append) == 3  # no three in a row


def test_a_machine_on_which_three_methods_fail_stops(tmp_path, stub, said):
    calls, errors, _ = stub
    cells = [
        Cell("scenes", method, "1/8", seed)
        for seed in range(2)
        for method in ("supervised", "sa", "sn", "sassn")
    ]
    errors += [MemoryError(), None, MemoryError(), OSError(), UnfitError("full")]
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 7
    assert calls == [("supervised", 0), ("sa", 0), ("sn", 0), ("sassn", 0), ("supervised", 1)]
    assert said[-1].startswith("3 methods in a row have failed")


def test_a_machine_that_fails_at_everything_stops(tmp_path, stub, said):
    calls, errors, _ = stub
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in range(8)]
    full = UnfitError("checkpoints cannot be written")
    errors += [MemoryError(), OSError(), InputError("labels"), MemoryError(), full, OSError()]
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 8
    assert len(calls) == 6
    assert said[-1].startswith("sa: 3 cells in a row have failed")
    assert results.read(results.folder_of(tmp_path, cells[7])) is None


def test_a_folder_that_another_recipe_has_begun_meanwhile_is_left(tmp_path, stub, said):
    other = dataclasses.replace(CELL, seed=2)
    folder = results.folder_of(tmp_path, CELL)

    def say(text):
        said.append(text)
        if text.startswith(f"{CELL.name}: 1 of 2"):
            folder.mkdir(parents=True)
            theirs = dataclasses.replace(RECIPE, overrides={**TINY, "num_steps": 7}).config(CELL)
            (folder / "config.json").write_text(json.dumps(theirs.to_dict()))

    assert run_cells(tmp_path, [CELL, other], RECIPE, say) == 1
    assert stub[0] == [("supervised", 2)]
    assert results.read(folder) is None
    assert any(text.startswith(f"{CELL.name}: ") and "num_steps" in text for text in said)


def test_what_fails_after_the_training_is_a_failure_of_one_cell(tmp_path, stub, said, monkeypatch):
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in range(3)]

    def write(path, value):
        if "seed1" in str(path):
            raise OSError(28, "No space left on device", str(path))
        write_json(path, value)

    def health(workdir):
        if "seed0" in str(workdir):
            raise RuntimeError("unheard of")
        return {}

    monkeypatch.setattr(scheduling, "write_json", write)
    monkeypatch.setattr(results, "last_health", health)
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 2
    found = [results.read(results.folder_of(tmp_path, cell)) for cell in cells]
    assert found[0]["error"] == "unheard of"
    assert found[1] is None
    assert any("seed1: failed: [Errno 28] No space left" in text for text in said)
    assert found[2]["miou"] == 0.5


def test_a_folder_that_a_halted_owner_still_holds_is_waited_for(tmp_path, stub, said, monkeypatch):
    calls, errors, _ = stub
    errors.append(OccupiedError("cells: another process is training there"))
    monkeypatch.setattr(scheduling, "STALE_AFTER", 0.2)
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.05)
    folder = results.folder_of(tmp_path, CELL)
    left = []

    def say(text):
        said.append(text)
        if text.startswith("waiting"):
            left.append(results.read(folder))

    assert run_cells(tmp_path, [CELL], RECIPE, say) == 0
    assert left == [None]
    assert len(calls) == 2
    assert results.read(folder)["attempts"] == 1


def test_who_finished_is_believed_where_its_file_is_not_seen(tmp_path, stub, said, monkeypatch):
    """As on NFS, which may know for a while that there was no such file."""
    calls, _, _ = stub
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(scheduling, "SHOWN_WITHIN", 0.1)
    theirs = Claims(tmp_path / scheduling.CLAIMS_FOLDER).acquire(CELL.name)

    def say(text):
        said.append(text)
        theirs.outcome = scheduling.FINISHED
        theirs.__exit__(None, None, None)

    theirs.__enter__()
    assert run_cells(tmp_path, [CELL], RECIPE, say) == 0
    assert calls == []
    assert said[-1].startswith(f"finished elsewhere, but not seen here yet: {CELL.name}; the same")
    # By the next call somebody has removed it to have it anew.
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert len(calls) == 1


def test_a_file_that_shows_late_is_waited_for(tmp_path, stub, said, monkeypatch):
    """So that it is in the report, which is written then."""
    calls, _, _ = stub
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.0)
    theirs = Claims(tmp_path / scheduling.CLAIMS_FOLDER).acquire(CELL.name)
    folder, seen = results.folder_of(tmp_path, CELL), []

    def say(text):
        said.append(text)
        theirs.outcome = scheduling.FINISHED
        theirs.__exit__(None, None, None)

    def has_ended(result):
        seen.append(result)
        if len(seen) == 5:
            folder.mkdir(parents=True)
            write_json(folder / results.FILE, {"miou": 0.5})
        return result is not None

    theirs.__enter__()
    monkeypatch.setattr(results, "has_ended", has_ended)
    assert run_cells(tmp_path, [CELL], RECIPE, say) == 0
    assert (calls, seen[-1], len(said)) == ([], {"miou": 0.5}, 1)


def test_who_claims_what_has_just_been_finished_leaves_it_so(tmp_path, stub, said, monkeypatch):
    """Between the look at a cell and its claim, and where the file is not seen."""
    calls, _, _ = stub
    monkeypatch.setattr(scheduling, "SHOWN_WITHIN", 0.1)
    claims = Claims(tmp_path / scheduling.CLAIMS_FOLDER)
    acquire = scheduling.Claims.acquire

    def acquire_late(self, name):
        if len(said) == 1:  # of how many cells there are
            with claims.acquire(name) as theirs:
                theirs.outcome = scheduling.FINISHED
        return acquire(self, name)

    monkeypatch.setattr(scheduling.Claims, "acquire", acquire_late)
    claims.acquire = acquire.__get__(claims)
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert calls == []
    assert claims.ended(CELL.name) == (2, scheduling.FINISHED)


def test_nothing_is_recorded_in_a_cell_that_another_has_taken_over(tmp_path, stub, monkeypatch):
    """Also before the next beat tells of it."""
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.0)
    folder = results.folder_of(tmp_path, CELL)

    def evaluate_run(workdir, split, overrides):
        (tmp_path / scheduling.CLAIMS_FOLDER / f"{CELL.name}.2").write_text('{"released": true}')
        fail_elsewhere(folder, error_kind="InputError")
        return {"split": split, "miou": 0.5, "overrides": overrides}

    monkeypatch.setattr(running, "evaluate_run", evaluate_run)
    assert run_cells(tmp_path, [CELL], RECIPE, print) == 1
    assert results.read(folder)["error"] == "boom"


def test_a_process_that_a_script_started_hears_of_a_loss(tmp_path):
    """`&` in a script starts it with SIGINT ignored."""
    script = (
        "import sys, time, pathlib\n"
        "from experiments.reproduction import claims, scheduling\n"
        "from experiments.reproduction.cells import Cell, Recipe\n"
        "from sassn_jax.errors import TrainingError\n"
        "workdir, cell = pathlib.Path(sys.argv[1]), Cell('scenes', 'sa', '1/8', 0)\n"
        "claims.BEAT_EVERY = 0.05\n"
        "def run_cell(folder, cell, recipe):\n"
        "    (workdir / 'claims' / f'{cell.name}.2').write_text('{\"released\": true}')\n"
        "    scheduling.run_cell = lambda *args: {'error': 'as told', 'error_kind': 'InputError'}\n"
        "    time.sleep(20)\n"
        "    sys.exit('slept on')\n"
        "scheduling.run_cell = run_cell\n"
        "say = lambda text: print(text, flush=True)\n"
        "scheduling.run_cells(workdir, [cell], Recipe('scenes'), say)"
    )
    (tmp_path / "script.py").write_text(script)
    line = f"{sys.executable} {tmp_path / 'script.py'} {tmp_path} & wait $!"
    result = subprocess.run(
        ["sh", "-c", line], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "another took it over" in result.stdout
    assert "failed: as told" in result.stdout


def test_two_cells_do_not_share_a_name(tmp_path, stub):
    cells = [Cell("scenes", "sa", labels, 0) for labels in ("1/8", "1-8")]
    with pytest.raises(InputError, match="labels 1/8 and 1-8 would share the folder scenes_sa_1-8"):
        run_cells(tmp_path, cells, RECIPE, print)
    assert stub[0] == []


def test_a_cell_of_another_config_is_an_error_and_stays_as_it_is(tmp_path, stub):
    folder = results.folder_of(tmp_path, CELL)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(RECIPE.config(CELL).to_dict()))
    (folder / "result.json").write_text('{"miou": 0.5}')
    assert run_cells(tmp_path, [CELL], RECIPE, print) == 0
    other = Recipe("scenes", overrides={**TINY, "num_steps": 7})
    with pytest.raises(InputError, match=r"num_steps=7: the run in .* has 6 steps"):
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
    acquire = scheduling.Claims.acquire
    monkeypatch.setattr(
        scheduling.Claims, "acquire", lambda *args: claims.append(acquire(*args)) or claims[0]
    )
    monkeypatch.setattr(scheduling, "run_cell", take_over)
    monkeypatch.setattr(scheduling, "LOOK_EVERY", 0.0)
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert any("another took it over" in text for text in said)
