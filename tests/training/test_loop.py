import dataclasses
import gzip
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sassn_jax import data
from sassn_jax.data import scenes
from sassn_jax.errors import InputError, OccupiedError, TrainingError
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.models.generator import Generator
from sassn_jax.training.evaluate_run import evaluate_run, load_run
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.summaries import Writer
from sassn_jax.training.workdir import Workdir
from tests.compiling import few_optimizations
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config

# What a loop does is the same for any network; `whole` is a run of the paper's generator.
pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks")


def rows_of(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def train_until(last: int, config, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C once the values of a step are written."""

    def scalars(self, step, values, write=Writer.scalars):
        write(self, step, values)
        if step == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "scalars", scalars)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config, workdir)


def assert_equal_bits(a, b) -> None:
    """Compares two trees leaf by leaf, keys of random generators by their data."""

    def data(x):
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(data(x)), np.asarray(data(y)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its last state and its workdir."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch, few_optimizations():
        make_runs_small(patch)
        patch.setattr("sassn_jax.models.discriminator.WIDTHS", (4, 4, 4, 4, 1))
        state = train_and_evaluate(tiny_config(), workdir)
    return state, workdir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last state of a run of both players, of a tiny network."""
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        return train_and_evaluate(tiny_config(), tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    """A run of two supervised steps: its config, its last state and its workdir."""
    workdir = tmp_path_factory.mktemp("supervised") / "run"
    config = tiny_config("supervised")
    config.num_steps = 2
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        state = train_and_evaluate(config, workdir)
    return config, state, workdir


@pytest.fixture
def supervised_run(supervised, workdir):
    """The same, the config and the workdir as a copy."""
    config, state, original = supervised
    shutil.copytree(original, workdir)
    return config.copy_and_resolve_references(), state, workdir


def test_a_run_leaves_what_its_docstring_says(whole):
    state, workdir = whole
    assert int(state.step) == 8
    assert json.loads((workdir / "config.json").read_text())["method"] == "sassn"
    split = json.loads((workdir / "split.json").read_text())
    assert len(split["labeled"]) == 4
    assert len(split["unlabeled"]) == 28

    rows = rows_of(workdir)
    steps = [row["step"] for row in rows if "loss/generator" in row]
    assert steps == [2, 3, 4, 6, 8]  # every 2, and before the checkpoint at 3
    before, after = rows[0], next(row for row in rows if row["step"] == 8)
    assert "loss/self_training" not in before
    for name in (
        "loss/cross_entropy",
        "loss/discriminator",
        "loss/self_training",
        "confidence/real",
        "confidence/fake",
        "self_training/kept",
        "self_training/precision",
        "alpha/attention3",
        "alpha/attention4",
        "sigma/conv1",
        "sigma/conv5",
        "gradient_norm/generator",
        "gradient_norm/discriminator",
        "images_per_second",
        "input_wait",
    ):
        assert name in after, name

    written = json.loads((workdir / "eval_val.json").read_text())
    assert written["step"] == 8
    assert set(written["iou"]) >= {"gate_open", "gate_closed"}
    assert written["miou"] == pytest.approx(rows[-1]["val/miou"])

    events = EventAccumulator(str(workdir), size_guidance={"images": 0}).Reload()
    assert "loss/generator" in events.Tags()["scalars"]
    picture = events.Images("val")[0]
    # Three images of 96x96 in rows; input, truth, prediction, confidence; gaps of 4.
    assert (picture.height, picture.width) == (3 * 96 + 2 * 4, 4 * 96 + 3 * 4)


def test_supervised_run_has_no_discriminator(supervised):
    _, state, workdir = supervised
    assert state.discriminator is None
    assert "loss/discriminator" not in rows_of(workdir)[0]


def test_all_labels_leave_nothing_unlabeled(workdir):
    config = tiny_config("advsemiseg")
    config.labels = "1"
    config.num_steps, config.loss.semi_start = 2, 0
    train_and_evaluate(config, workdir)
    assert all("loss/self_training" not in row for row in rows_of(workdir))


def test_a_run_too_short_for_unlabeled_images_says_so(workdir, capsys):
    config = tiny_config("advsemiseg")
    config.num_steps = config.loss.semi_start = 1
    train_and_evaluate(config, workdir)
    said = "".join(capsys.readouterr())
    assert "no step takes unlabelled images: they take part from step 1 on, and num_steps=1" in said


def test_one_seed_gives_one_result(undisturbed, workdir):
    assert_equal_bits(undisturbed, train_and_evaluate(tiny_config(), workdir))


def test_another_seed_gives_another_result(workdir):
    kernels = []
    for seed in (0, 1):
        config = tiny_config("supervised")
        config.seed, config.num_steps = seed, 1
        state = train_and_evaluate(config, workdir / str(seed))
        kernels.append(state.generator.params["head"]["kernel"])
    assert not np.array_equal(*kernels)


def test_a_stopped_run_goes_on_to_the_same_bits(undisturbed, workdir, monkeypatch):
    train_until(6, tiny_config(), workdir, monkeypatch)
    assert rows_of(workdir)[-1]["step"] == 6
    resumed = tiny_config()
    resumed.log_every = 4  # says how a run is carried out, and may change
    parts = train_and_evaluate(resumed, workdir)

    assert_equal_bits(undisturbed, parts)
    # The last checkpoint was at step 6 - 3: what was written after it was written again, once.
    steps = [row["step"] for row in rows_of(workdir) if "loss/generator" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8


def test_a_profile_of_some_steps(workdir, capsys):
    """The trace holds the steps that were asked for, and lies where TensorBoard looks."""
    config = tiny_config("supervised")
    config.num_steps, config.profile = 3, (1, 1)
    train_and_evaluate(config, workdir)
    assert "steps 2 to 2 are traced in" in capsys.readouterr().out
    [folder] = (workdir / "plugins" / "profile").iterdir()
    assert list(folder.glob("*.xplane.pb"))
    trace = json.loads(gzip.decompress((folder / "perfetto_trace.json.gz").read_bytes()))
    steps = [x for x in trace["traceEvents"] if x.get("name") == "PjitFunction(step)"]
    assert 1 <= len(steps) <= 2  # one step, of which Python's call and C++'s have the same name


def test_a_profile_ends_where_a_run_is_stopped(workdir, monkeypatch):
    """A profiler that still ran would fail the next profile of the process."""
    config = tiny_config("supervised")
    config.num_steps, config.log_every, config.checkpoint_every = 3, 1, 1
    config.profile = (1, 2)
    train_until(2, config, workdir, monkeypatch)
    train_and_evaluate(config, workdir)  # from step 1, with the same steps traced
    shutil.rmtree(workdir / "checkpoints" / "3")
    config.profile = (0, 3)
    assert int(train_and_evaluate(config, workdir).step) == 3  # in the middle of them: no trace
    assert list((workdir / "plugins" / "profile").iterdir())


def test_a_finished_run_is_left_alone(supervised_run):
    config, first, workdir = supervised_run
    rows = rows_of(workdir)
    assert_equal_bits(first, train_and_evaluate(config, workdir))
    assert rows_of(workdir) == rows


def test_best_checkpoint_is_kept(workdir, monkeypatch):
    from sassn_jax.training import loop

    scores, evaluations = [0.5, 0.1, 0.2, 0.3], []

    def evaluate(*args, evaluate=loop.evaluate, **kwargs):
        evaluations.append(args)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    monkeypatch.setattr(ConfusionMatrix, "miou", lambda self: scores[len(evaluations) - 1])
    config = tiny_config("supervised")
    config.num_steps, config.eval_every, config.checkpoint_every = 8, 2, 2
    train_and_evaluate(config, workdir)
    assert load_run(workdir, "best").step == 2
    assert load_run(workdir).step == 8
    kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert kept == [2, 6, 8]


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
    assert whole["miou"] != by_windows["miou"]
    # How it is scored is no part of what a run is: it goes on.
    config.eval.update({"window": (), "stride": (), "mirror": False, "scales": (0.5, 1.0)})
    train_and_evaluate(config, workdir)


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
    for window, stride in [((8, 8), ()), ((8, 8), (8, 9)), ((8, 8), (0, 1)), ((), (8, 8))]:
        with pytest.raises(InputError, match=r"eval.stride=.*at most that of the window") as caught:
            evaluate_run(workdir, overrides={"eval.window": window, "eval.stride": stride})
        assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_stops_the_run(workdir):
    config = tiny_config("supervised")
    config.optimizer.name = "sgd"
    config.optimizer.lr = 1e30
    with pytest.raises(TrainingError, match=r"step \d+: .* is (nan|inf); .*optimizer.lr"):
        train_and_evaluate(config, workdir)
    assert not (workdir / "eval_val.json").exists()


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


@pytest.mark.usefixtures("fast_compile")
def test_the_mean_says_of_how_many_classes_it_is(workdir, monkeypatch, capsys):
    """A mean over few classes looks better than it is."""
    source = scenes.ScenesSource.__getitem__

    def one_class(self, index):
        example = source(self, index)
        return example | {"label": np.minimum(example["label"], 1)}

    monkeypatch.setattr(scenes.ScenesSource, "__getitem__", one_class)
    # A tiny network predicts all classes at first.
    monkeypatch.setattr("sassn_jax.models.networks.Generator", Generator)
    config = tiny_config("supervised")
    config.num_steps = 1
    train_and_evaluate(config, workdir)
    assert re.search(r"val mIoU \d\.\d{4} of the \d classes that occur, ", capsys.readouterr().out)


def test_a_gradient_that_is_not_finite_is_not_saved(workdir, monkeypatch):
    from sassn_jax.methods.supervised import Supervised

    def step(self, state, batch, step=Supervised.step):
        state, metrics = step(self, state, batch)
        broken = jnp.where(state.step == 3, jnp.inf, metrics["gradient_norm/generator"])
        return state, metrics | {"gradient_norm/generator": broken}

    monkeypatch.setattr(Supervised, "step", step)
    config = tiny_config("supervised")
    config.checkpoint_every = 1
    with pytest.raises(TrainingError, match="step 3: gradient_norm/generator is inf"):
        train_and_evaluate(config, workdir)
    assert load_run(workdir).step == 2


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
