"""Cells are run once, go on where they were stopped, and do not take others down with them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.reproduction import results, running
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.claims import Claims
from experiments.reproduction.running import run_cells
from sassn_jax.errors import InputError, OccupiedError, TrainingError
from sassn_jax.files import write_json
from sassn_jax.training.loop import Loop
from tests.experiments.reproduction.conftest import TINY
from tests.experiments.reproduction.shared_cells import CELLS
from tests.training.conftest import make_runs_small

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
    calls, errors, scored_with = [], [], {}

    def train_and_evaluate(config, workdir):
        calls.append((config.method, config.seed))
        if errors and (error := errors.pop(0)) is not None:
            raise error

    monkeypatch.setattr(running, "train_and_evaluate", train_and_evaluate)

    def evaluate_run(workdir, split, overrides):
        scored_with.update(overrides)
        return {"split": split, "miou": 0.5, "iou": {"wall": 0.5}, "overrides": overrides}

    monkeypatch.setattr(running, "evaluate_run", evaluate_run)
    return calls, errors, scored_with


def test_a_failed_cell_is_recorded_and_tried_again(tmp_path, stub, said):
    calls, errors, _ = stub
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


def fail_elsewhere(folder, **result):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"error": "boom", "error_kind": "OSError", "attempts": 1, **result}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize(
    ("meanwhile", "tried"),
    [
        ({}, True),  # this machine may be able to
        ({"error_kind": "TrainingError"}, False),
        ({"error_kind": "InputError"}, False),
        ({"attempts": running.ATTEMPTS}, True),  # of which one was made in an earlier call
        ({"attempts": running.ATTEMPTS + 1}, False),
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


def test_a_machine_that_fails_at_everything_stops(tmp_path, stub, said):
    calls, errors, _ = stub
    cells = [Cell("scenes", "sa", "1/8", seed) for seed in range(8)]
    diverged = TrainingError("step 3: a loss is nan")
    errors += [MemoryError(), OSError(), diverged, MemoryError(), MemoryError(), OSError()]
    assert run_cells(tmp_path, cells, RECIPE, said.append) == 8
    assert len(calls) == 6
    assert said[-1].startswith("3 cells in a row have failed")
    assert results.read(results.folder_of(tmp_path, cells[7])) is None


def test_lines_that_were_cut_short_are_passed_over(tmp_path, stub, said):
    folder = results.folder_of(tmp_path, CELL)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a{"step": 3}\n{"st')
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert results.read(folder)["health"] == {"step": 1, "a": 2.0}


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

    monkeypatch.setattr(running, "write_json", write)
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
    monkeypatch.setattr(running, "STALE_AFTER", 0.2)
    monkeypatch.setattr(running, "LOOK_EVERY", 0.05)
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
    monkeypatch.setattr(running, "LOOK_EVERY", 0.0)
    theirs = Claims(tmp_path / running.CLAIMS).acquire(CELL.name)

    def say(text):
        said.append(text)
        theirs.outcome = running.FINISHED
        theirs.__exit__(None, None, None)

    theirs.__enter__()
    assert run_cells(tmp_path, [CELL], RECIPE, say) == 0
    assert calls == []
    # By the next call somebody has removed it to have it anew.
    assert run_cells(tmp_path, [CELL], RECIPE, said.append) == 0
    assert len(calls) == 1


def test_nothing_is_recorded_in_a_cell_that_another_has_taken_over(tmp_path, stub, monkeypatch):
    """Also before the next beat tells of it."""
    monkeypatch.setattr(running, "LOOK_EVERY", 0.0)
    folder = results.folder_of(tmp_path, CELL)

    def evaluate_run(workdir, split, overrides):
        (tmp_path / running.CLAIMS / f"{CELL.name}.2").write_text('{"released": true}')
        fail_elsewhere(folder, error_kind="InputError")
        return {"split": split, "miou": 0.5, "overrides": overrides}

    monkeypatch.setattr(running, "evaluate_run", evaluate_run)
    assert run_cells(tmp_path, [CELL], RECIPE, print) == 1
    assert results.read(folder)["error"] == "boom"


def test_a_process_that_a_script_started_hears_of_a_loss(tmp_path):
    """`&` in a script starts it with SIGINT ignored."""
    script = (
        "import sys, time, pathlib\n"
        "from experiments.reproduction import claims, running\n"
        "from experiments.reproduction.cells import Cell, Recipe\n"
        "from sassn_jax.errors import TrainingError\n"
        "workdir, cell = pathlib.Path(sys.argv[1]), Cell('scenes', 'sa', '1/8', 0)\n"
        "claims.BEAT_EVERY = 0.05\n"
        "def run_cell(folder, cell, recipe):\n"
        "    (workdir / 'claims' / f'{cell.name}.2').write_text('{\"released\": true}')\n"
        "    running.run_cell = lambda *args: {'error': 'as told', 'error_kind': 'InputError'}\n"
        "    time.sleep(20)\n"
        "    sys.exit('slept on')\n"
        "running.run_cell = run_cell\n"
        "running.run_cells(workdir, [cell], Recipe('scenes'), lambda text: print(text, flush=True))"
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


def test_a_cell_without_its_weights_fails_alone(tmp_path, stub, said):
    cells = [Cell("voc", method, "1", 0) for method in ("fcn8s", "sassn")]
    recipe = Recipe("voc", weights={"resnet101": "random"}, overrides=TINY)
    assert run_cells(tmp_path, cells, recipe, said.append) == 1
    result = results.read(results.folder_of(tmp_path, cells[0]))
    assert result["error"].startswith("--weights: none for vgg16; add vgg16=FILE")
    assert stub[0] == [("sassn", 0)]


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
    assert result["device"].endswith(f" ({len(os.sched_getaffinity(0))} cores)")
    assert (result["weights"], result["changes"]["num_steps"]) == ("random", 6)
    assert result["eval"]["mirror"] is False
