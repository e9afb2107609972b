import json

import pytest

from experiments.diagnosis import runs
from experiments.diagnosis.diagnosing import diagnose
from experiments.diagnosis.tables import show
from sassn_jax.data import load
from sassn_jax.data.scenes import CLASS_NAMES
from sassn_jax.errors import InputError
from sassn_jax.methods import METHODS
from sassn_jax.recipes import METHOD_FIELDS
from sassn_jax.terminal import make_console
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config


@pytest.fixture
def methods_as_they_were():
    """Takes out again what a diagnosis adds to the methods."""
    before = set(METHODS), set(METHOD_FIELDS)
    yield
    for registered, names in zip((METHODS, METHOD_FIELDS), before, strict=True):
        for added in set(registered) - names:
            del registered[added]


@pytest.mark.slow  # five runs, each compiled
@pytest.mark.usefixtures("fast_compile", "methods_as_they_were")
@pytest.mark.parametrize("method", ["sassn", "cutmix"])
def test_the_tables(method, tmp_path, monkeypatch, capsys):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    config = tiny_config(method)
    config.num_steps, config.loss.semi_start = 4, 2

    written = diagnose(config, tmp_path)
    show(written, make_console(soft_wrap=True))
    shown = capsys.readouterr().out
    assert all(f"{name}: {title}" in shown for name, title in runs.TITLES.items())
    assert all(name in shown for name in ("mIoU", "gradient", *CLASS_NAMES))
    assert json.loads((tmp_path / "diagnosis.json").read_text()) == written
    assert list(written["scores"]) == list(runs.TITLES)
    assert all(verdict in shown for verdict in written["verdicts"])
    assert written["over_time"][-1]["step"] == 4
    assert set(written["over_time"][-1]["classes"]) == set(CLASS_NAMES)
    assert written["gradient_norms"]["labels"] > 0
    assert ("discriminator" in written) == (method == "sassn")
    assert set(written["average_and_raw"]) == (set() if method == "sassn" else {"average", "raw"})
    if method == "cutmix":
        scored = written["scores"]["method"]["miou"]
        assert written["average_and_raw"]["average"] == pytest.approx(scored)

    monkeypatch.setattr("experiments.diagnosis.runs.train_and_evaluate", None)
    assert diagnose(config, tmp_path) == written  # trains nothing again


def test_what_cannot_be_diagnosed(tmp_path, monkeypatch):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    with pytest.raises(InputError, match="method='s4gan': has no mask of pixels"):
        runs.configs(tiny_config("s4gan"))
    config = tiny_config("sassn")
    every_id = tmp_path / "ids.txt"
    every_id.write_text("\n".join(load("scenes").splits["train"].ids))
    for labels in ("1", "1/1", str(every_id)):
        config.labels = labels
        with pytest.raises(InputError, match=r"takes all masks .* such as labels=1/8$") as error:
            runs.configs(config)
        assert f"labels={labels!r}" in str(error.value)
