"""A workdir belongs to one run, of one config and the same data."""

import dataclasses

import pytest

from sassn_jax import data
from sassn_jax.errors import InputError, OccupiedError
from sassn_jax.files import write_json
from sassn_jax.recipes import parse
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.workdir import Workdir
from tests.training.conftest import tiny_config

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
