"""The public names of the package, its docstring, and a method that a reader adds to it."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import sassn_jax
from sassn_jax import data, recipes
from sassn_jax.errors import InputError
from sassn_jax.methods import METHODS
from sassn_jax.training.setup import set_up
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"


@pytest.mark.usefixtures("fast_compile")
@pytest.mark.parametrize("module", [sassn_jax, recipes])
def test_what_the_docstrings_show(module, monkeypatch):
    monkeypatch.setitem(data.scenes.SPLIT_SIZES, "val", 3)
    result = doctest.testmod(module)
    assert result.attempted > 2
    assert not result.failed


def test_every_public_name_is_there():
    assert {"train", "load", "evaluate", "losses", "methods", "position_attention"} <= set(
        sassn_jax.__all__
    )
    for name in sassn_jax.__all__:
        assert getattr(sassn_jax, name) is not None
        assert name in dir(sassn_jax)
    assert sassn_jax.Generator(num_classes=3).num_classes == 3
    with pytest.raises(AttributeError, match="no attribute 'Genrator'"):
        sassn_jax.Genrator  # noqa: B018


def test_a_type_checker_sees_the_same_names(tmp_path):
    """They are imported under TYPE_CHECKING alone, so that nothing else compares the two lists."""
    (tmp_path / "user.py").write_text(
        "import sassn_jax\n"
        + "".join(f"reveal_type(sassn_jax.{name})\n" for name in sassn_jax.__all__)
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache")]
    options = ["--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py")]
    result = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert 'Revealed type is "Any"' not in result.stdout
    assert result.stdout.count("Revealed type") == len(sassn_jax.__all__)


@pytest.fixture
def example(monkeypatch):
    """The method of the page, entered into the table, with what its code defines."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) <= 60
    for name, method in METHODS.items():  # the table is as before when the test ends
        monkeypatch.setitem(METHODS, name, method)
    monkeypatch.setitem(METHODS, "mean_teacher", None)
    scope = {"__name__": "mean_teacher"}
    exec(compile(code, str(PAGE), "exec"), scope)
    return scope


@pytest.mark.usefixtures("fast_compile")
def test_the_method_of_the_page(example, monkeypatch):
    make_runs_small(monkeypatch)
    make_networks_tiny(monkeypatch)
    config = tiny_config("supervised")
    config.method = "mean_teacher"
    setup = set_up(recipes.parse(config))
    assert type(setup.method) is example["MeanTeacher"]
    state = setup.initial_state()
    before = jax.device_get(state.teacher)
    new, metrics = jax.jit(setup.method.step)(state, setup.batches[0])
    assert float(metrics["loss/consistency"]) > 0
    moved = jax.tree.map(
        lambda old, student: 0.99 * old + 0.01 * student,
        before["params"]["head"],
        new.generator.params["head"],
    )
    for wanted, got in zip(
        jax.tree.leaves(moved), jax.tree.leaves(new.teacher["params"]["head"]), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)
    assert setup.method.inference_variables(new) is new.teacher


def test_the_fields_of_the_page_are_fields_of_every_config(example):
    config = recipes.default_config("mean_teacher", dataset="scenes").to_dict()
    assert config["mean_teacher"] == {"decay": 0.99, "weight": 1.0, "noise": 0.1}
    config["mean_teacher"]["decay"] = 1.0
    with pytest.raises(InputError, match=r"mean_teacher.decay=1.0: expected a number of at least"):
        recipes.parse(config)
