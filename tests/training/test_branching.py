"""A new run goes on from a checkpoint of another one, with all of its state."""

import json
import os
import shutil

import numpy as np
import pytest

from sassn_jax.errors import InputError
from sassn_jax.training.branching import branched, find_origin, way_on
from sassn_jax.training.loop import branch_off, continue_training, train_and_evaluate
from sassn_jax.training.origin import Origin, read_origin
from sassn_jax.training.workdir import Workdir
from tests.training.conftest import (
    assert_equal_bits,
    make_networks_tiny,
    make_runs_small,
    rows_of,
    tiny_config,
)

pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of six steps, with a checkpoint of each: its last state and its workdir."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    config = tiny_config()
    config.num_steps, config.checkpoint_every, config.keep = 6, 1, 7
    config.eval_every, config.loss.semi_start = 6, 0
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        return train_and_evaluate(config, workdir), workdir


def test_the_same_config_gives_the_same_bits(whole, workdir, capsys):
    """Both players, both optimizers and the position in the data are taken over."""
    state, former = whole
    before = sorted(os.listdir(former / "checkpoints"))
    origin = find_origin(f"{former}@3")
    assert_equal_bits(branch_off(origin, workdir), state)
    assert f"goes on from step 3 of {former}, with the same config" in capsys.readouterr().out
    assert sorted(os.listdir(former / "checkpoints")) == before
    theirs = [row for row in rows_of(former) if row["step"] > 3 and "loss/generator" in row]
    ours = [row for row in rows_of(workdir) if "loss/generator" in row]
    for a, b in zip(theirs, ours, strict=True):
        assert {k: v for k, v in a.items() if "/" in k} == {k: v for k, v in b.items() if "/" in k}
    assert rows_of(workdir)[0]["step"] == 4


def test_another_rate_and_length(whole, workdir, monkeypatch, capsys):
    """It is kept where the run came from; a stopped run goes on by the same call."""
    state, former = whole
    origin = find_origin(f"{former}@5")
    changes = {"optimizer.lr": 1e-5, "num_steps": 7}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sassn_jax.training.parallel.put_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            branch_off(origin, workdir, changes)
    assert os.listdir(workdir / "checkpoints") == ["5"]
    last = branch_off(origin, workdir, changes)
    assert int(last.step) == 7
    kernels = [x.generator.params["head"]["kernel"] for x in (state, last)]
    assert not np.array_equal(*kernels)
    assert "with num_steps=7, optimizer.lr=1e-05" in capsys.readouterr().out
    assert read_origin(Workdir(workdir)) == Origin(former, 5, changes)
    assert Workdir(workdir).read_config().optimizer.lr == 1e-5
    with pytest.raises(InputError, match=r"holds a run that began from .*@5 and not from .*@4"):
        branch_off(find_origin(f"{former}@4"), workdir, changes)
    assert int(continue_training(workdir, 7).step) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.norm": "frozen"}, r"model\.norm='frozen': expected 'batch'"),
        ({"batch_size": 4}, r"batch_size=4: expected 2, as in "),
        ({"seed": 1}, r"seed=1: expected 0"),
        ({"method": "advsemiseg"}, r"method='advsemiseg': expected 'sassn'"),
        (
            {"num_steps": 3},
            r"num_steps=3: expected more than the 3 steps .*run@3, .* add --config\.n",
        ),
        ({"optimizer.lr": -1.0}, r"optimizer\.lr=-1\.0: expected"),
    ],
)
def test_what_the_state_depends_on_may_not_change(whole, changes, message):
    with pytest.raises(InputError, match=message) as error:
        branched(find_origin(f"{whole[1]}@3"), changes)
    assert "\n" not in str(error.value)


def test_another_state_is_refused_before_the_new_run_begins(whole, workdir, monkeypatch):
    """Whichever field changes it."""
    monkeypatch.setattr("sassn_jax.training.branching.FIXED", set())
    with pytest.raises(InputError, match=r"holds another network: generator\.opt_state"):
        branch_off(find_origin(f"{whole[1]}@3"), workdir, {"optimizer.name": "adam"})
    assert not workdir.exists()


def test_the_names_of_a_checkpoint(whole, tmp_path):
    _, former = whole
    odd = shutil.copytree(former, tmp_path / "a@5")
    for text, folder, step in (
        (f"{former}", former, 6),
        (f"{former}@latest", former, 6),
        (f"{former}@best", former, 6),
        (f"{former}@healthy", former, 6),
        (f"{former}@0", former, 0),
        (f"{odd}", odd, 6),
        (f"{odd}@2", odd, 2),
    ):
        assert find_origin(text) == Origin(folder, step)
    shutil.rmtree(odd / "checkpoints" / "6" / "state")
    assert find_origin(str(odd)).step == 5
    for text in (f"{former}@7", f"{former}@x", f"{former}@-1", f"{former}@"):
        with pytest.raises(InputError, match=r"no such checkpoint; expected WORKDIR@STEP.* 0, 1, "):
            find_origin(text)
    for text in ("", "@3"):
        with pytest.raises(InputError, match=rf"from='{text}': expected WORKDIR@STEP, where WORK"):
            find_origin(text)
    with pytest.raises(InputError, match=r"no config.json; expected the workdir of a run"):
        find_origin(f"{tmp_path}@3")


def test_a_run_that_has_begun_keeps_its_checkpoint_of_the_other_run(whole, tmp_path):
    """By the same text, although the other run has gone on since."""
    _, former = whole
    moving = shutil.copytree(former, tmp_path / "moving")
    begun = Origin(moving, 4, {"optimizer.lr": 1e-5})
    shutil.rmtree(moving / "checkpoints" / "4")
    for step in ("4", "latest", "best", "healthy"):
        assert find_origin(f"{moving}@{step}", begun) == Origin(moving, 4)
    assert find_origin(f"{moving}", begun) == Origin(moving, 4)
    assert find_origin(f"{moving}@3", begun) == Origin(moving, 3)
    assert find_origin(f"{former}@latest", begun) == Origin(former, 6)


def test_a_damaged_checkpoint_is_refused_before_the_new_run_begins(whole, tmp_path):
    _, former = whole
    damaged = shutil.copytree(former, tmp_path / "damaged")
    shutil.rmtree(damaged / "checkpoints" / "3" / "state")
    with pytest.raises(InputError, match=r"from='.*@3': .*checkpoints/3 is damaged$"):
        find_origin(f"{damaged}@3")


@pytest.mark.parametrize("content", ["[]", "{", '{"workdir": "a", "step": "1", "changes": {}}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "from.json").write_text(content)
    with pytest.raises(InputError, match=r"from\.json: damaged; expected the checkpoint"):
        read_origin(Workdir(tmp_path))


def test_the_way_on_can_be_copied(tmp_path):
    assert f"sassn train --from='{tmp_path}/a b@3' --workdir=NEW" in way_on(tmp_path / "a b", 3)
    assert "begin anew" in way_on(tmp_path, None)


def test_the_file_is_readable(whole, workdir):
    origin = Origin(whole[1], 3, {"crop_size": (32, 32)})
    workdir.mkdir()
    origin.write(Workdir(workdir))
    assert json.loads((workdir / "from.json").read_text())["changes"] == {"crop_size": [32, 32]}
