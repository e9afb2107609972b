"""Updates with numbers that are not finite: counted, reported, and in a row the end of a run."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.errors import TrainingError
from sassn_jax.methods import NetworkState, TrainState
from sassn_jax.methods.supervised import Supervised
from sassn_jax.recipes import parse
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.skips import IN_A_ROW, OTHERS, Skips
from sassn_jax.training.window import Window
from sassn_jax.training.workdir import Workdir

from .conftest import assert_equal_bits, rows_of, tiny_config, train_until

HEALTHY = {
    "loss/generator": 2.0,
    "gradient_norm/generator": 1.0,
    "skipped/generator": 0.0,
    "loss/discriminator": 0.7,
    "gradient_norm/discriminator": 0.1,
    "skipped/discriminator": 0.0,
}  # of a step of two players


def numbers_of_step(**discriminators):
    """The metrics of a step in which these of D were otherwise, such as `loss`."""
    others = {f"{name}/discriminator": value for name, value in discriminators.items()}
    return {name: jnp.float32(value) for name, value in (HEALTHY | others).items()}


GOOD = numbers_of_step()


def make_state(discriminator=1.0, generator=1.0):
    """A state with parameters of this size."""
    networks = [
        NetworkState({"kernel": jnp.full(3, size)}, {}, None) for size in (generator, discriminator)
    ]
    return TrainState(jnp.int32(12), jax.random.key(0), *networks)


BATCH = {"labeled": {"image": np.zeros((1, 2, 2, 3), np.float32)}}


def long_config(method, **fields):
    """A run that is long enough to be stopped, on labelled images alone."""
    config = tiny_config(method)
    config.num_steps = config.eval_every = config.checkpoint_every = IN_A_ROW + 10
    config.loss.semi_start = 100
    config.update_from_flattened_dict(fields)
    return config


@pytest.mark.filterwarnings("ignore:overflow encountered in divide")
@pytest.mark.usefixtures("small_runs", "tiny_networks")
@pytest.mark.parametrize(
    ("method", "fields", "cause"),
    [
        ("sassn", {"optimizer.lr": 1e30}, "The likeliest cause is a high optimizer.lr=1e+30"),
        ("supervised", {"image.std": (1e-38, 1.0, 1.0)}, "has images that are not finite: look at"),
    ],
)
def test_a_run_of_skipped_updates_alone_ends_at_once(workdir, capsys, method, fields, cause):
    config = long_config(method, **fields)
    config.log_every = 100  # it does not wait for a line of the log
    with pytest.raises(TrainingError, match=r"updates of the \w+ in a row") as error:
        train_and_evaluate(config, workdir)
    message = str(error.value)
    assert cause in message
    stopped, first = map(int, re.findall(r"step (\d+)[:,]", message))
    assert first + IN_A_ROW - 1 <= stopped <= first + IN_A_ROW + 1
    assert re.search(r"(loss|gradient_norm)/\w+ is (nan|inf)", message)
    assert f"sassn train --from={workdir}@0 --workdir=NEW" in message
    assert capsys.readouterr().out.count("the update of the generator was skipped, since") == 1
    assert not (workdir / "eval_val.json").exists()
    assert all(value is not None for row in rows_of(workdir) for value in row.values())


@pytest.mark.usefixtures("small_runs", "tiny_networks")
def test_a_run_goes_on_after_skipped_updates_and_after_a_stop_among_them(
    workdir, monkeypatch, capsys
):
    """Steps 3, 5 and 6 see no number at all; the run is stopped at 6 and goes on from 4."""

    def step(self, state, batch, step=Supervised.step):
        bad = (state.step == 2) | (state.step == 4) | (state.step == 5)
        image = jnp.where(bad, jnp.nan, batch["labeled"]["image"])
        return step(self, state, {"labeled": {**batch["labeled"], "image": image}})

    monkeypatch.setattr(Supervised, "step", step)
    config = tiny_config("supervised")
    config.checkpoint_every = 4
    whole = train_and_evaluate(config, workdir.with_name("whole"))
    assert "skipped updates: 3 of the generator" in capsys.readouterr().out
    train_until(6, config, workdir, monkeypatch)
    assert_equal_bits(train_and_evaluate(config, workdir), whole)
    assert "skipped updates: 3 of the generator" in capsys.readouterr().out
    for folder in (workdir, workdir.with_name("whole")):
        rows = [row for row in rows_of(folder) if "skipped/generator" in row]
        assert [row["skipped/generator"] for row in rows] == [0, 0, 1, 1, 2, 3, 3, 3]
        assert [row["step"] for row in rows if "loss/generator" not in row] == [3, 5, 6]
        assert all(value is not None for row in rows for value in row.values())


def make_skips(said, tmp_path, **fields):
    config = tiny_config("sassn")
    config.update_from_flattened_dict(fields)
    return Skips(parse(config), Workdir(tmp_path), 0, said.append)


def test_only_a_row_without_a_gap_ends_a_run(tmp_path):
    said: list[str] = []
    skips = make_skips(said, tmp_path)
    bad, state = numbers_of_step(skipped=1, loss=np.nan), make_state()
    for step in range(1, 3 * IN_A_ROW):
        assert skips.look(step, bad if step % IN_A_ROW else GOOD) == (step % IN_A_ROW != 0)
        skips.check(state, BATCH, lambda step: None)
    assert skips.counts == {"generator": 0, "discriminator": 3 * (IN_A_ROW - 1)}
    assert said == [
        "step 1: the update of the discriminator was skipped, since loss/discriminator is nan; "
        "more are counted as skipped/discriminator"
    ]
    skips.finish()
    assert said[1:] == [f"skipped updates: {3 * (IN_A_ROW - 1)} of the discriminator"]


@pytest.mark.parametrize(
    ("before", "numbers", "params", "fields", "expected"),
    [
        (40.0, {"loss": np.nan}, 1.0, {}, "discriminator_lr=0.0001, since the loss of the d"),
        (0.7, {"loss": np.nan}, 1e6, {}, "discriminator_lr=0.0001, since parameters of the disc"),
        (0.7, {"gradient_norm": np.inf}, 1.0, {}, "discriminator_lr=0.0001, since the number is"),
        (0.7, {"gradient_norm": np.nan}, 1.0, {"model.dtype": "bfloat16"}, "model.dtype='bfloat"),
        (0.7, {"gradient_norm": np.nan}, 1.0, {}, "--config.debug_nans=True finds the operation"),
        (0.7, {}, 1.0, {}, OTHERS),
    ],
)
def test_the_likeliest_cause_is_what_the_numbers_say(
    tmp_path, before, numbers, params, fields, expected
):
    skips = make_skips([], tmp_path, **fields)
    skips.look(1, GOOD)
    skips.look(2, numbers_of_step(loss=before))
    for step in range(3, 3 + IN_A_ROW):
        skips.look(step, numbers_of_step(skipped=1, **numbers))
    with pytest.raises(TrainingError) as error:
        skips.check(make_state(params), BATCH, {3: 2}.get)
    assert expected in str(error.value)
    assert f"sassn train --from={tmp_path}@2 --workdir=NEW" in str(error.value)


@pytest.mark.parametrize("size", [1e6, np.inf, np.nan])
def test_the_network_that_is_ruined_is_the_cause_of_what_another_skips(tmp_path, size):
    """G's predictions are not finite, and D's loss is the first number that shows it."""
    skips = make_skips([], tmp_path)
    for step in range(1, 1 + IN_A_ROW):
        skips.look(step, numbers_of_step(skipped=1, loss=np.nan))
    with pytest.raises(TrainingError) as error:
        skips.check(make_state(2e3, generator=size), BATCH, {1: 0}.get)
    cause = "a high optimizer.lr=0.003, since parameters of the generator are as large as"
    assert cause in str(error.value)


def test_means_leave_out_steps_with_a_skipped_update(tmp_path):
    window = Window(make_skips([], tmp_path))
    window.add(1, GOOD, images=2)
    window.add(2, numbers_of_step(skipped=1, loss=np.nan), images=2)
    window.add(3, GOOD | {"loss/generator": jnp.float32(4)}, images=2)
    window.add(4, numbers_of_step(skipped=1, gradient_norm=np.inf, loss=1e30), images=2)
    means = window.close()
    assert means["loss/generator"] == 3.0
    assert means["loss/discriminator"] == np.float32(0.7)
    assert means["skipped/discriminator"] == 2
    assert means["skipped/generator"] == 0
    window.add(5, numbers_of_step(skipped=1, loss=np.nan), images=2)
    assert window.close().keys() == {
        "images_per_second", "input_wait", "skipped/discriminator", "skipped/generator"
    }  # fmt: skip


def test_a_line_of_the_log_that_was_cut_short_is_no_count(tmp_path):
    lines = ['{"step": 2, "skipped/generator": 1}', '{"step": 4, "skipped/generator": 5}', '{"st']
    Workdir(tmp_path).metrics.write_text("\n".join(lines))
    config = parse(tiny_config("sassn"))
    assert Skips(config, Workdir(Path(tmp_path)), 3, print).counts == {"generator": 1}
