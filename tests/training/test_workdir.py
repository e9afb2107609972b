"""A workdir belongs to one run, of one config and the same data."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from sassn_jax import data
from sassn_jax.errors import InputError, OccupiedError
from sassn_jax.files import write_json
from sassn_jax.recipes import parse
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.loop import continue_training, train_and_evaluate
from sassn_jax.training.workdir import Workdir
from tests.training.conftest import assert_equal_bits, rows_of, tiny_config

pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks")


def test_workdir_of_another_config_is_refused(supervised_run):
    config, _, workdir = supervised_run
    config.optimizer.lr = 0.5
    with pytest.raises(InputError, match=r"another config \(optimizer.lr was 0.003, is 0.5\)"):
        train_and_evaluate(config, workdir)


def test_a_run_does_not_go_on_with_other_labels(workdir, tmp_path):
    ids = tmp_path / "ids.txt"
    config = tiny_config("supervised")
    config.num_steps = 1
    config.labels = str(ids)
    ids.write_text("train_0001\ntrain_0002\n")
    train_and_evaluate(config, workdir)
    before = (workdir / "split.json").read_text()
    ids.write_text("train_0003\ntrain_0002\n")
    with pytest.raises(InputError, match=r"split.json: the run began with other labelled or"):
        train_and_evaluate(config, workdir)
    assert (workdir / "split.json").read_text() == before


def test_a_run_does_not_go_on_with_other_masks(supervised_run, monkeypatch):
    config, _, workdir = supervised_run
    changed = dataclasses.replace(data.load("scenes"), fingerprint="of other masks")
    monkeypatch.setattr(data, "load", lambda *_: changed)
    with pytest.raises(InputError, match=r"split.json: the run began with .* or with other masks"):
        train_and_evaluate(config, workdir)


def test_two_runs_do_not_share_a_workdir(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with (
        Workdir(workdir).occupied(),
        pytest.raises(OccupiedError, match=r"run: another process is training there; wait"),
    ):
        train_and_evaluate(tiny_config(), workdir)
    assert list(workdir.iterdir()) == []
    with Workdir(workdir).occupied():  # as soon as the other is gone
        pass


def test_the_file_of_weights_may_stand_in_another_folder(tmp_path):
    """As on the host where a run goes on."""
    config = tiny_config()
    config.model.weights = "here/a.safetensors"
    workdir = Workdir(tmp_path)
    write_json(workdir.config, parse(config).to_dict())
    config.model.weights = "there/a.safetensors"
    workdir.check(parse(config))
    config.model.weights = "there/b.safetensors"
    with pytest.raises(InputError, match=r"model.weights was 'a.safetensors', is 'b.safetensors'"):
        workdir.check(parse(config))


@pytest.mark.parametrize("content", ["[]", "null", '"a"', "{", '{"loss": null}', '{"losses": {}}'])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: "):
        Workdir(tmp_path).read_config()


def test_more_steps_are_refused_with_the_ways_to_train_on(supervised_run):
    config, _, workdir = supervised_run
    config.num_steps = 3
    with pytest.raises(InputError) as error:
        train_and_evaluate(config, workdir)
    message = str(error.value)
    assert message.startswith(f"num_steps=3: the run in {workdir} has 2 steps; to train it on: ")
    assert f"sassn train --continue_to=3 --workdir={workdir}; or" in message
    assert "\n" not in message
    assert Workdir(workdir).read_config().num_steps == 2


def test_a_run_goes_on_to_more_steps(supervised_run, monkeypatch, capsys):
    """At the learning rate that a run of so many steps has there, stopped in between or not."""
    _, first, workdir = supervised_run
    other = workdir.with_name("other")
    shutil.copytree(workdir, other)
    last = continue_training(workdir, 4)
    assert int(last.step) == 4
    assert "continued from 2 steps: the learning rates are those of" in capsys.readouterr().out
    assert json.loads((workdir / "lengths.json").read_text()) == [2, 4]
    assert Workdir(workdir).read_config().num_steps == 4
    assert json.loads((workdir / "eval_val.json").read_text())["step"] == 4
    assert [row["step"] for row in rows_of(workdir) if "loss/generator" in row] == [1, 2, 3, 4]
    kernels = [state.generator.params["head"]["kernel"] for state in (first, last)]
    assert not np.array_equal(*kernels)  # the learning rate is not 0

    def save(self, state, *args, save=Checkpoints.save):
        save(self, state, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(KeyboardInterrupt):  # at step 3
            continue_training(other, 4)
    assert_equal_bits(continue_training(other, 4), last)
    with pytest.raises(InputError, match=r"continue_to=3: expected at least the 4 steps that"):
        continue_training(other, 3)


def test_the_data_of_a_run_may_have_moved(supervised_run, monkeypatch):
    """What decides the result may not change on this way."""
    _, _, workdir = supervised_run
    looked = []

    def load(name, data_dir, source, limits, load=data.load):
        looked.append((data_dir, source))
        return load(name)

    monkeypatch.setattr(data, "load", load)
    continue_training(workdir, 3, {"data_dir": "/moved", "source": "/photos"})
    assert looked == [("/moved", "/photos")]
    with pytest.raises(InputError, match=r"seed was 0, is 1"):
        continue_training(workdir, 4, {"seed": 1})


def test_the_command_that_began_a_run_is_kept(supervised_run, tmp_path):
    config, _, workdir = supervised_run
    begun, new = Workdir(workdir), Workdir(tmp_path / "new")
    assert begun.read_command() is None  # it was begun from Python
    new.path.mkdir()
    split, info = data.read_split(begun.split), begun.read_classes("scenes")
    for command in ("sassn train --config='a b'", "sassn train --later"):
        new.begin(parse(config), split, info, command)
        assert new.read_command() == "sassn train --config='a b'"


def test_there_must_be_a_run_to_continue(tmp_path):
    with pytest.raises(InputError, match=r"no config.json; expected the workdir of a run"):
        continue_training(tmp_path, 4)


def test_how_many_checkpoints_are_kept_may_change(supervised_run):
    config, _, workdir = supervised_run
    config.keep = 5
    Workdir(workdir).check(parse(config))


def test_a_line_of_metrics_that_was_cut_short_is_left_out(tmp_path):
    workdir = Workdir(tmp_path)
    assert workdir.read_rows() == []
    workdir.metrics.write_text('{"step": 1, "a": 0.5}\n{"step": 2, "a"\n{"step": 3, "a": null}\n')
    assert workdir.read_rows() == [{"step": 1, "a": 0.5}, {"step": 3, "a": None}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"step": 1}\n{"loss": 1}\n', r"metrics.jsonl, line 2: expected a whole number `step`"),
        (b"[1]\n", r"metrics.jsonl, line 1: expected"),
        (b'{"step": 1, "a": "b"}\n', r"metrics.jsonl, line 1: expected"),
        (b'{"step": 1}\n\xff\n', r"metrics.jsonl: expected UTF-8"),
    ],
)
def test_damaged_metrics_are_named(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        Workdir(tmp_path).read_rows()
    assert "\n" not in str(error.value)
