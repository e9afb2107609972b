"""Checkpoints are where a run can find them again, whatever its folder is called."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from sassn_jax.data import BatchIterator, train_batches
from sassn_jax.errors import InputError, UnfitError
from sassn_jax.methods import TrainState
from sassn_jax.prediction.run import load_run
from sassn_jax.training import parallel
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.damage import failing
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.workdir import Workdir
from tests.data.sources import numbered
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config

NUM_STEPS = 3
ODD = os.fsdecode(b"\xff") + "spaces [v2] sta*r? back\\slash quo'te\"s größe 照片 🐈"
ODD_NAMES = (
    "with spaces",
    "run [v2]",
    "sta*r que?ry",
    "back\\slash",
    "quo'te\"s",
    "größe 照片 🐈",
    "new\nline",
    "scheme:/inner",
    "a#b%20c~d$e",
    os.fsdecode(b"not UTF-8 \xff"),
    ODD,
)


@pytest.fixture
def batches() -> BatchIterator:
    """Batches of a run, as far as a checkpoint knows of them."""

    def transform(example, rng):
        return {"image": example["image"].astype(np.float32)}

    return train_batches(numbered(3), None, transform=transform, batch_size=1, seed=0)


def some_state(step: int = 0) -> TrainState:
    return TrainState(
        step=jnp.int32(step), rng=jax.random.key(0), generator={"kernel": jnp.arange(3.0)}
    )


def short_config():
    config = tiny_config("supervised")
    config.num_steps, config.checkpoint_every, config.eval_every = NUM_STEPS, 1, NUM_STEPS
    return config


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[np.ndarray]:
    """The parameters that a run in a folder of a plain name ends with."""
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        state = train_and_evaluate(short_config(), tmp_path_factory.mktemp("plain") / "run")
    return [np.asarray(x) for x in jax.tree.leaves(state.generator)]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_folder_may_have_any_name(name, tmp_path, batches):
    workdir = tmp_path / "outer" / name
    workdir.mkdir(parents=True)
    batches.seek(7)
    with Checkpoints(Workdir(workdir)) as checkpoints:
        checkpoints.save(some_state(), batches, 0.5)
    batches.seek(0)
    with Checkpoints(Workdir(workdir), read_only=True) as checkpoints:
        assert (checkpoints.latest_step, checkpoints.best_step) == (0, 0)
        restored = checkpoints.restore(some_state(), 0, batches)
    np.testing.assert_array_equal(restored.generator["kernel"], [0, 1, 2])
    assert batches.get_state() == b'{"step": 7}'
    # TensorStore writes below another name where there is a backslash.
    assert os.listdir(tmp_path / "outer") == [name.partition("/")[0]]


@pytest.mark.parametrize(
    ("name", "how", "stopped_in"),
    [("run [v2]", "trailing slash", 3), ("back\\slash", "relative", 1), (ODD, "link", 2)],
    ids=ascii,
)
def test_a_stopped_run_goes_on_to_the_same_bits_in_a_folder_of_any_name(
    name, how, stopped_in, undisturbed, tmp_path, monkeypatch, small_runs, tiny_networks
):
    (tmp_path / "outer" / name).mkdir(parents=True)
    workdir = f"{tmp_path / 'outer' / name}/"
    if how == "relative":
        (tmp_path / "inner").mkdir()
        monkeypatch.chdir(tmp_path / "inner")
        workdir = f"../outer/{name}"
    elif how == "link":
        (tmp_path / "link").symlink_to(workdir)
        workdir = str(tmp_path / "link")

    steps = iter(range(1, NUM_STEPS + 1))

    def stop(batch, mesh, put_batch=parallel.put_batch):
        if next(steps) == stopped_in:
            raise KeyboardInterrupt
        return put_batch(batch, mesh)

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "put_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(short_config(), workdir)
    train_and_evaluate(short_config(), workdir)

    run = load_run(workdir)
    assert run.step == NUM_STEPS
    for a, b in zip(undisturbed, jax.tree.leaves(run.state.generator), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))
    assert os.listdir(tmp_path / "outer") == [name]


def test_a_folder_that_cannot_be_read_is_refused_before_the_first_step(
    tmp_path, monkeypatch, small_runs, tiny_networks
):
    def fail(*_, **__):
        raise FileNotFoundError("no .zarray\nin the database")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", fail)
    workdir = tmp_path / "run"
    with pytest.raises(UnfitError, match=r"does not read back .* \(no .zarray in") as error:
        train_and_evaluate(short_config(), workdir)
    assert "\n" not in str(error.value)
    assert not (workdir / "metrics.jsonl").exists()
    assert os.listdir(workdir / "checkpoints") == []


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lambda state: state.replace(generator={"kernel": jnp.array([0.0, 1, -2])}), "generator.k"),
        (lambda state: state.replace(generator={"kernel": jnp.array([-0.0, 1, 2])}), "generator.k"),
        (lambda state: state.replace(rng=jax.random.key(1)), "rng"),
        (lambda state: state.replace(step=jnp.int32(5)), "step"),
    ],
)
def test_one_wrong_bit_in_the_first_checkpoint_is_noticed(
    tmp_path, monkeypatch, batches, broken, named
):
    def restore(self, *arguments, restore=ocp.CheckpointManager.restore, **named):
        return {"state": broken(restore(self, *arguments, **named)["state"])}

    monkeypatch.setattr(ocp.CheckpointManager, "restore", restore)
    with (
        Checkpoints(Workdir(tmp_path)) as checkpoints,
        pytest.raises(UnfitError, match=rf"read back .* \(.*{named}.* has changed\)\)"),
    ):
        checkpoints.save(some_state(), batches, None)
    with Checkpoints(Workdir(tmp_path), read_only=True) as checkpoints:
        assert checkpoints.latest_step is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_saving_in_a_resumed_run_costs_no_checkpoint(tmp_path, monkeypatch, batches, error):
    """Nothing is read back there: a run that goes on has just been restored from its folder."""
    with Checkpoints(Workdir(tmp_path)) as checkpoints:
        for step in (0, 10, 20):
            checkpoints.save(some_state(step), batches, None)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Checkpoints, "restore", fail)
    with Checkpoints(Workdir(tmp_path)) as checkpoints:
        checkpoints.save(some_state(30), batches, None)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["20", "30"]


def test_a_ctrl_c_while_the_first_checkpoint_is_read_back_leaves_it(tmp_path, monkeypatch, batches):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "restore", stop)
    with pytest.raises(KeyboardInterrupt), Checkpoints(Workdir(tmp_path)) as checkpoints:
        checkpoints.save(some_state(), batches, None)
    assert os.listdir(tmp_path / "checkpoints") == ["0"]


def test_reading_a_checkpoint_back_moves_no_batches(tmp_path, batches):
    first = next(batches)
    with Checkpoints(Workdir(tmp_path)) as checkpoints:
        checkpoints.save(some_state(1), batches, None)
    second = next(batches)
    batches.seek(0)
    for expected in (first, second):
        np.testing.assert_array_equal(
            next(batches)["labeled"]["image"], expected["labeled"]["image"]
        )


def test_a_run_that_was_stopped_before_its_first_step_has_nothing_to_score(
    tmp_path, monkeypatch, small_runs, tiny_networks
):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "put_batch", stop)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(short_config(), tmp_path / "run")
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["0"]
    with pytest.raises(InputError, match=r"no checkpoint yet; train it first"):
        load_run(tmp_path / "run")


def test_a_score_that_comes_later_is_in_the_record(tmp_path, batches):
    """Also of the only checkpoint, whose arrays stay as they are."""
    with Checkpoints(Workdir(tmp_path), keep=1) as checkpoints:
        checkpoints.save(some_state(), batches, None, fault="ruined")
        checkpoints.score(0, 0.25)
        assert checkpoints.best_step == 0
    with Checkpoints(Workdir(tmp_path), read_only=True) as checkpoints:
        assert (checkpoints.record(0).miou, checkpoints.record(0).fault) == (0.25, "ruined")
        assert checkpoints.stored(0).is_whole()
    record = tmp_path / "checkpoints" / "0" / "record"
    assert sorted(os.listdir(record)) == ["commit_success.txt", "metadata"]


def test_the_loss_of_another_process_is_no_fault_of_the_folder(monkeypatch, workdir):
    for count, kind in ((1, UnfitError), (2, RuntimeError)):
        monkeypatch.setattr("jax.process_count", lambda count=count: count)
        with pytest.raises(kind, match="Gloo AllGather failed"), failing(workdir, "written"):
            raise RuntimeError("Gloo AllGather failed: connection closed by peer")
