"""What a run writes, and how it goes on, stops and ends."""

import gzip
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sassn_jax.data import scenes
from sassn_jax.errors import InputError
from sassn_jax.metrics import ConfusionMatrix
from sassn_jax.models.generator import Generator
from sassn_jax.prediction.run import load_run
from sassn_jax.training.loop import is_finished, train_and_evaluate
from tests.compiling import few_optimizations
from tests.training.conftest import (
    assert_equal_bits,
    make_networks_tiny,
    make_runs_small,
    rows_of,
    tiny_config,
    train_until,
)

# What a loop does is the same for any network; `whole` is a run of the paper's generator.
pytestmark = pytest.mark.usefixtures("small_runs", "tiny_networks")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the paper's networks: its last state and its workdir."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    config = tiny_config()
    config.num_steps = config.eval_every = 2
    config.loss.semi_start = 0  # one step to compile
    with pytest.MonkeyPatch.context() as patch, few_optimizations():
        make_runs_small(patch)
        patch.setattr("sassn_jax.models.discriminator.WIDTHS", (4, 4, 4, 4, 1))
        state = train_and_evaluate(config, workdir)
    return state, workdir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last state of a run of both players, of a tiny network."""
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        return train_and_evaluate(tiny_config(), tmp_path_factory.mktemp("undisturbed") / "run")


def test_a_run_leaves_what_its_docstring_says(whole):
    state, workdir = whole
    assert int(state.step) == 2
    assert json.loads((workdir / "config.json").read_text())["method"] == "sassn"
    split = json.loads((workdir / "split.json").read_text())
    assert len(split["labeled"]) == 4
    assert len(split["unlabeled"]) == 28

    rows = rows_of(workdir)
    steps = [row["step"] for row in rows if "loss/generator" in row]
    assert steps == [1, 2]  # in so short a run each, in place of every second one
    after = rows[1]
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
    assert written["step"] == 2
    assert set(written["iou"]) >= {"gate_open", "gate_closed"}
    assert written["miou"] == pytest.approx(rows[-1]["val/miou"])

    events = EventAccumulator(str(workdir), size_guidance={"images": 0}).Reload()
    assert "loss/generator" in events.Tags()["scalars"]
    assert {"learning_rate/generator", "learning_rate/discriminator"} <= after.keys()
    assert "speed/images_per_second" in events.Tags()["scalars"]
    of_crops = {"pictures/training_labeled", "pictures/training_unlabeled"}
    others = {"pictures/validation", "pictures/iou", "pictures/attention"}
    assert set(events.Tags()["images"]) == of_crops | others
    picture = Image.open(io.BytesIO(events.Images("pictures/validation")[0].encoded_image_string))
    assert (picture.width, np.asarray(picture).dtype) == (3 * (4 * 96 + 3 * 4), np.uint8)


def test_supervised_run_has_no_discriminator(supervised):
    _, state, workdir = supervised
    assert state.discriminator is None
    assert "loss/discriminator" not in rows_of(workdir)[0]


def test_all_labels_leave_nothing_unlabeled(workdir, capsys):
    config = tiny_config("advsemiseg")
    config.labels = "1"
    config.num_steps, config.loss.semi_start = 2, 0
    train_and_evaluate(config, workdir)
    assert all("loss/self_training" not in row for row in rows_of(workdir))
    said = "".join(capsys.readouterr())
    assert "no unlabelled images are left for method=advsemiseg" in said
    assert "--config.unlabeled=all" in said


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("advsemiseg", "loss.semi_start"),
        ("cutmix", "cutmix.start"),
        ("unimatch", "unimatch.start"),
    ],
)
def test_a_run_too_short_for_unlabeled_images_says_so(workdir, capsys, method, field):
    config = tiny_config(method)
    config.num_steps = 1
    config.update_from_flattened_dict({field: 1})
    train_and_evaluate(config, workdir)
    said = "".join(capsys.readouterr())
    assert f"no step takes unlabelled images: --config.{field}=1 is the first" in said


def test_the_step_that_is_compiled_again_is_announced(workdir, capsys):
    config = tiny_config("advsemiseg")
    config.num_steps = 5
    train_and_evaluate(config, workdir)
    said = capsys.readouterr().out
    assert said.count("compiling it, which may take minutes") == 1
    assert "step 5 is the first with unlabelled images: compiling it" in said


@pytest.mark.parametrize("masks", [True, False])
def test_a_precision_that_cannot_be_known_is_not_logged(workdir, monkeypatch, masks):
    """Where all unlabelled images come without masks."""
    from sassn_jax import data

    whole = data.load("scenes")
    train = whole.splits["train"]
    few, rest = (data.subset(train, ids) for ids in (train.ids[:4], train.ids[4:]))
    if not masks:
        splits = {**whole.splits, "train": few, data.UNLABELED: rest}
        monkeypatch.setattr(data, "load", lambda *_: data.Dataset(whole.info, splits))
    config = tiny_config("advsemiseg")
    config.labels = "1/8" if masks else "1"
    config.num_steps, config.loss.semi_start = 2, 0
    train_and_evaluate(config, workdir)
    names = {name for row in rows_of(workdir) for name in row}
    assert "self_training/kept" in names
    assert ("self_training/precision" in names) == masks


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
    assert steps == list(range(1, 9))
    learning = [row["step"] for row in rows_of(workdir) if "loss/self_training" in row]
    assert learning == [5, 6, 7, 8]  # unlabelled images take part after four steps


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
    assert is_finished(config, workdir)
    assert_equal_bits(first, train_and_evaluate(config, workdir))
    assert rows_of(workdir) == rows
    config.num_steps += 1
    assert not is_finished(config, workdir)  # which is then refused with the ways to go on
    assert not is_finished(config, workdir / "new")
    config.seed += 1
    with pytest.raises(InputError, match="seed was 0, is 1"):
        is_finished(config, workdir)


def test_best_checkpoint_is_kept(workdir, monkeypatch):
    from sassn_jax.training import validation

    scores, evaluations = [0.5, 0.1, 0.2, 0.3], []

    def evaluate(*args, evaluate=validation.evaluate, **kwargs):
        evaluations.append(args)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(validation, "evaluate", evaluate)
    monkeypatch.setattr(ConfusionMatrix, "miou", lambda self: scores[len(evaluations) - 1])
    config = tiny_config("supervised")
    config.num_steps, config.eval_every, config.checkpoint_every = 8, 2, 2
    train_and_evaluate(config, workdir)
    assert load_run(workdir, "best").step == 2
    assert load_run(workdir).step == 8
    kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert kept == [2, 6, 8]


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
