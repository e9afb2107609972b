"""A run as one file, and what can be done with it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax import data, methods
from sassn_jax.data import Dataset, DatasetInfo, scenes
from sassn_jax.errors import InputError
from sassn_jax.evaluation import evaluate
from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.recipes import parse, resolve
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.weights import store
from tests.compiling import few_optimizations
from tests.training.conftest import make_runs_small, tiny_config
from tests.trees import random_variables

pytestmark = pytest.mark.usefixtures("small_runs", "fast_compile")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of two steps, whose config names places on this machine."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    config = tiny_config("sa")
    ids = workdir.with_name("ids.txt")
    ids.write_text("\n".join(data.load("scenes").splits["train"].ids[:4]))
    config.labels, config.data_dir = str(ids), str(workdir.with_name("data"))
    config.num_steps = config.eval_every = 2
    with pytest.MonkeyPatch.context() as patch, few_optimizations():
        make_runs_small(patch)
        train_and_evaluate(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def exported(workdir):
    path = workdir.parent / "model.safetensors"
    about = export_run(workdir, path, "best")
    assert about["step"] == 2
    return path


def test_the_file_says_what_it_is(workdir, exported):
    about = store.read_about(exported)
    assert about["config"] == {
        **(written := json.loads((workdir / "config.json").read_text())),
        "labels": "./ids.txt",
        "data_dir": "",
        "model": {**written["model"], "weights": ""},
    }
    assert str(workdir.parent).encode() not in exported.read_bytes()
    assert about["num_classes"] == len(about["classes"]["names"])
    assert "gate_open" in about["classes"]["names"]
    assert about["image"] == written["image"]


def test_a_file_has_no_best_checkpoint(exported):
    with pytest.raises(
        InputError, match=r"checkpoint='best': .* holds one network; leave this out"
    ):
        load_run(exported, "best")


def test_it_predicts_and_scores_as_the_run_does(workdir, exported):
    run, read = load_run(workdir), load_run(exported)
    jax.tree.map(np.testing.assert_array_equal, read.variables, run.variables)
    assert read.step == run.step
    assert read.dataset.info.class_names == run.dataset.info.class_names
    np.testing.assert_array_equal(read.dataset.info.palette, run.dataset.info.palette)
    image = run.dataset.splits["test"][0]["image"]
    np.testing.assert_array_equal(read.predict(image).ids, run.predict(image).ids)
    result = evaluate_run(exported, "test", overrides={"data_dir": "/mnt/data"})
    assert result == evaluate_run(workdir, "test")  # without the place, which changes no score
    beside = exported.with_name("model_eval_test.json")
    assert json.loads(beside.read_text())["miou"] == pytest.approx(result["miou"])
    with pytest.raises(InputError, match="split='all'"):
        evaluate_run(exported, "all")


@pytest.mark.parametrize(
    "showing",
    [{"pad_to": (112, 104)}, {"window": (64, 80), "stride": (32, 40)}, {"mirror": True}],
)
def test_it_predicts_what_is_scored(workdir, showing):
    run = load_run(workdir, overrides={f"eval.{name}": value for name, value in showing.items()})
    source = run.dataset.splits["test"]
    scored = {}

    def note(batch, probabilities):
        scored.update(zip(batch.indices, np.asarray(probabilities.argmax(-1)), strict=False))

    evaluate(
        jax.jit(run.method.predict),
        run.variables,
        source,
        run.dataset.info,
        normalize=run.config.image,
        batch_size=1,
        inference=run.config.eval,
        on_batch=note,
    )
    height, width = source[1]["label"].shape
    result = run.predict(source[1]["image"])
    np.testing.assert_array_equal(result.ids, scored[1][:height, :width])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, {"backbone", "attention3", "attention4", "head"}),
        ({"model.aspp_rates": (1,)}, {"backbone", "attention3", "attention4"}),
        ({"model.aspp_rates": (2, 1)}, {"backbone", "attention3", "attention4"}),
        ({"model.attention": ("layer4",), "model.qk_reduction": 4}, {"backbone", "head"}),
        ({"classes": 3}, {"backbone", "attention3", "attention4"}),
        ({"model.head": "deeplabv3"}, {"backbone", "attention3", "attention4"}),
    ],
)
def test_training_starts_from_the_parts_that_fit(exported, change, parts):
    config = tiny_config("sa")
    config.model.weights = str(exported)
    change = dict(change)
    classes = change.pop("classes", store.read_about(exported)["num_classes"])
    config.update_from_flattened_dict(change)
    config, _ = resolve(parse(config))
    generator = methods.create(config, classes).generator
    images = jnp.zeros((1, 32, 32, 3))
    variables = random_variables(generator.network, images, train=False)
    assert set(generator.pretrained.parts(variables)) == parts
    loaded = generator.pretrained.load(generator.network.make_backbone(), variables, images)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    given, _ = store.read(exported)
    for collection, tree in loaded.items():
        for part, arrays in tree.items():
            source = given if part in parts else variables
            for path, x in jax.tree.leaves_with_path(arrays):
                expected = source[collection][part]
                for key in path:
                    expected = expected[key.key]
                np.testing.assert_array_equal(x, expected)


def test_who_scores_a_file_says_where_the_data_are(exported):
    with pytest.raises(
        InputError, match=r"data_dir='': expected the folder in which camvid .*sassn prepare"
    ):
        evaluate_run(exported, overrides={"dataset": "camvid"})


def test_neither_is_scored_on_other_classes(workdir, exported, monkeypatch):
    """Of which there may be as many, so that nothing else would fail."""
    names = tuple(f"street {i}" for i in range(8))
    streets = Dataset(DatasetInfo("camvid", names, np.zeros((8, 3), np.uint8)), {})
    monkeypatch.setattr(data, "load", lambda *_: streets)
    for run in (workdir, exported):
        with pytest.raises(
            InputError,
            match=r"dataset='camvid': expected the classes that the network was trained on, which "
            r"are those of scenes \(class 0 is street 0 in it and meadow in the network\)",
        ):
            evaluate_run(run, "train", overrides={"dataset": "camvid"})
    assert not list(workdir.parent.rglob("*eval_train.json"))


def test_an_export_needs_no_dataset(workdir, tmp_path, monkeypatch):
    def load(*arguments):
        raise InputError("not prepared here")

    monkeypatch.setattr("sassn_jax.data.load", load)
    about = export_run(workdir, tmp_path / "model.safetensors")
    assert about["classes"]["names"] == scenes.CLASS_NAMES
    run = load_run(tmp_path / "model.safetensors")
    assert run.predict(np.zeros((33, 40, 3), np.uint8)).ids.shape == (33, 40)
    assert load_run(workdir).info.class_names == scenes.CLASS_NAMES
    with pytest.raises(InputError, match="not prepared here"):
        evaluate_run(workdir)


def test_weights_of_another_network_cannot_be_evaluated(exported, tmp_path):
    variables, about = store.read(exported)
    del variables["params"]["attention3"]
    store.write(tmp_path / "less.safetensors", variables, about)
    with pytest.raises(InputError, match="arrays are not those of the network"):
        load_run(tmp_path / "less.safetensors")


def test_a_mistake_is_named_before_work(workdir, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        export_run(workdir, tmp_path / "model.npz")
    with pytest.raises(InputError, match=r"no config\.json"):
        export_run(tmp_path, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="checkpoint='first'"):
        export_run(workdir, tmp_path / "model.safetensors", "first")
    assert not list(Path(tmp_path).iterdir())
