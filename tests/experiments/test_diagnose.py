import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from experiments import diagnose
from experiments.diagnosis import runs, watched
from sassn_jax import methods
from sassn_jax.data.scenes import CLASS_NAMES
from sassn_jax.errors import InputError
from sassn_jax.recipes import parse
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Leaves the methods as they were."""
    monkeypatch.setattr("sassn_jax.methods.METHODS", dict(methods.METHODS))
    monkeypatch.setattr(watched, "METHODS", methods.METHODS)
    monkeypatch.setattr("sassn_jax.recipes.METHODS", methods.METHODS)


@pytest.mark.usefixtures("fast_compile")
def test_the_tables(tmp_path, monkeypatch, capsys):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    flags.FLAGS.mark_as_parsed()
    config = tiny_config("sassn")
    config.num_steps, config.loss.semi_start = 2, 0
    monkeypatch.setattr(flags.FLAGS["config"], "value", config)
    monkeypatch.setattr(flags.FLAGS["workdir"], "value", str(tmp_path))

    diagnose.main()
    shown = capsys.readouterr().out
    assert all(f"{name}: {title}" in shown for name, title in runs.TITLES.items())
    assert all(name in shown for name in ("mIoU", "gradient norms", *CLASS_NAMES))
    written = json.loads((tmp_path / "diagnosis.json").read_text())
    assert set(written["scores"]) == set(runs.TITLES)
    assert [line["class"] for line in written["lessons"]] == list(CLASS_NAMES)
    assert written["gradient_norms"]["labels"] > 0
    losses = written["discriminator"]
    assert losses["predictions one-hot"] != losses["as trained"] != losses["truth as soft"]


def test_shares_by_class():
    labels = jnp.array([[[0, 0, 0, 1, 255]]])
    found = jnp.array([[[0, 0, 1, 1, 1]]])
    teaches = jnp.array([[[True, False, True, True, True]]])
    metrics = watched.by_class(found, labels, teaches, labels != 255, 3)
    assert metrics["teaches/pixels_0"] == pytest.approx(1 / 4)
    assert metrics["teaches/right_1"] == pytest.approx(1 / 2)
    assert metrics["finds/recall_0"] == pytest.approx(2 / 3)
    assert metrics["finds/iou_1"] == pytest.approx(1 / 2)
    assert jnp.isnan(metrics["finds/recall_2"])


@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("sassn", "loss/self_training"),
        ("cutmix", "loss/consistency"),
        ("unimatch", "loss/strong1"),
    ],
)
def test_wrong_pixels_do_not_teach_beside_the_oracle(name, loss, monkeypatch):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    config = parse(runs.configs(tiny_config(name))[runs.RIGHT_PIXELS])
    method = methods.create(config, num_classes=3)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 2, 32, 48, 3)).astype(np.float32)
    labels = rng.integers(0, 3, size=(2, 2, 32, 48)).astype(np.int32)
    batch = {
        "labeled": {"image": images[0], "label": labels[0]},
        "unlabeled": {
            "image": images[1],
            "label": labels[1],
            "valid": np.ones((2, 32, 48), bool),
        },
    }
    batch = jax.tree.map(jnp.asarray, batch)
    state = method.init(jax.random.key(0), batch)
    found = method.predict(method.inference_variables(state), jnp.asarray(images[1])).argmax(-1)
    step = jax.jit(method.step)
    _, all_wrong = step(state, with_labels(batch, (found + 1) % 3))
    _, all_right = step(state, with_labels(batch, found))
    assert float(sum(all_wrong[f"teaches/pixels_{i}"] for i in range(3))) == 0
    assert float(sum(all_right[f"teaches/pixels_{i}"] for i in range(3))) == pytest.approx(1)
    assert float(all_wrong[loss]) == 0 < float(all_right[loss])


def with_labels(batch, labels):
    return {**batch, "unlabeled": {**batch["unlabeled"], "label": labels}}


def test_what_cannot_be_diagnosed():
    with pytest.raises(InputError, match="method='s4gan': expected one of"):
        runs.configs(tiny_config("s4gan"))
