"""A run is loaded and scored as it was trained, or in other ways on request."""

import json
import subprocess

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.commands import evaluate
from sassn_jax.data import scenes
from sassn_jax.errors import InputError
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import assert_equal_bits, tiny_config

pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks")


def test_evaluation_of_a_run_matches_its_own(supervised_run):
    _, state, workdir = supervised_run
    written = json.loads((workdir / "eval_val.json").read_text())
    assert evaluate_run(workdir, "val") == written
    test = evaluate_run(workdir, "test")
    assert json.loads((workdir / "eval_test.json").read_text()) == test
    assert_equal_bits(load_run(workdir).state, state)


def test_a_run_is_scored_in_other_ways_on_request(workdir):
    config = tiny_config("supervised")
    config.num_steps, config.eval_batch_size = 2, 5
    config.eval.window, config.eval.stride, config.eval.mirror = (64, 64), (32, 32), True
    train_and_evaluate(config, workdir)
    by_windows = json.loads((workdir / "eval_val.json").read_text())
    assert evaluate_run(workdir) == by_windows
    plain = {"eval.window": (), "eval.stride": (), "eval.mirror": False}
    whole = evaluate_run(workdir, overrides=plain)
    assert whole.pop("overrides") == plain
    # The run's own score stays, also where a field is given that changes no score.
    assert json.loads((workdir / "eval_val.json").read_text()) == by_windows
    others = json.loads((workdir / "eval_val_overrides.json").read_text())
    assert others == whole | {"overrides": {name: _listed(x) for name, x in plain.items()}}
    evaluate_run(workdir, overrides={"eval_batch_size": 2})
    assert "overrides" not in json.loads((workdir / "eval_val.json").read_text())
    assert whole["miou"] != by_windows["miou"]
    # How it is scored is no part of what a run is: it goes on.
    config.eval.update({"window": (), "stride": (), "mirror": False, "scales": (0.5, 1.0)})
    train_and_evaluate(config, workdir)


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def test_a_run_is_only_scored_and_gone_on_with_on_the_classes_that_it_began_with(
    supervised_run, monkeypatch
):
    config, _, workdir = supervised_run
    written = json.loads((workdir / "classes.json").read_text())
    assert written["names"] == list(scenes.CLASS_NAMES)
    assert (written["palette"], written["ignore_label"]) == (scenes.PALETTE.tolist(), 255)

    # As many classes, and one more; the same number is not noticed by the network's shapes.
    for names in (scenes.CLASS_NAMES[::-1], (*scenes.CLASS_NAMES, "dog")):
        with monkeypatch.context() as patch:
            patch.setattr("sassn_jax.data.scenes.CLASS_NAMES", names)
            patch.setattr("sassn_jax.data.scenes.PALETTE", np.zeros((len(names), 3), np.uint8))
            with pytest.raises(InputError, match=r"dataset='scenes': expected the classes that"):
                evaluate_run(workdir)
            with pytest.raises(InputError, match=r"classes\.json: the run began with other class"):
                train_and_evaluate(config, workdir)
    score = evaluate_run(workdir)
    train_and_evaluate(config, workdir)
    assert json.loads((workdir / "classes.json").read_text()) == written
    assert evaluate_run(workdir) == score


def test_a_wrong_way_to_score_is_named(supervised):
    workdir = supervised[2]
    for window, stride in [((8, 8), (9, 8)), ((8, 8), (8, 9)), ((8, 8), (0, 1)), ((), (8, 8))]:
        with pytest.raises(InputError, match=r"eval.stride=.*at most that of the window") as caught:
            evaluate_run(workdir, overrides={"eval.window": window, "eval.stride": stride})
        assert "\n" not in str(caught.value)


def test_evaluating_what_is_not_there(supervised, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no config.json; expected the workdir of a run"):
        evaluate_run(tmp_path)
    workdir = supervised[2]
    with pytest.raises(InputError, match="split='tset': expected one of train, val, test"):
        evaluate_run(workdir, "tset")
    whole = data.load("scenes")
    splits = {**whole.splits, data.UNLABELED: whole.splits["train"]}
    with monkeypatch.context() as patch:
        patch.setattr(data, "load", lambda *_: data.Dataset(whole.info, splits))
        with pytest.raises(InputError, match="split='unlabeled': expected one of train, val, test"):
            evaluate_run(workdir, "unlabeled")
    with pytest.raises(InputError, match="checkpoint='worst': expected one of latest, best"):
        evaluate_run(workdir, checkpoint="worst")


def test_scores_of_a_run_in_a_read_only_folder_are_printed(supervised_run, capsys):
    workdir = supervised_run[2]
    (workdir / "eval_val.json").unlink()
    mount = ["mount", "--bind", "--options=ro", str(workdir), str(workdir)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting a folder is not allowed here: {done.stderr}")
    try:
        with pytest.raises(OSError, match=r"Read-only file system: '.*eval_val\.json'"):
            evaluate._evaluate(str(workdir), "val", "latest", {})
    finally:
        subprocess.run(["umount", "--lazy", str(workdir)], check=True)
    assert "mIoU" in capsys.readouterr().out
