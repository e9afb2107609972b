"""A run and a network small enough for tests."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import scenes
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.summaries import Writer
from tests.methods.conftest import TinyGenerator
from tests.trees import random_variables

FEW_IMAGES = {"train": 32, "val": 3, "test": 5}


def tiny_config(method: str = "sassn") -> ConfigDict:
    """Returns a config of 8 steps, 4 of them semi-supervised, on crops of 32x48 pixels."""
    config = scenes.get_config(f"method={method},labels=1/8")
    config.num_steps = 8
    config.batch_size = 2
    config.crop_size = (32, 48)
    config.log_every = 2
    config.eval_every = 8
    config.checkpoint_every = 3
    config.loss.semi_start = 4
    return config


def make_runs_small(patch: pytest.MonkeyPatch) -> None:
    """Leaves `scenes` so few images that scoring takes no time, and a run one of the devices."""
    patch.setattr("sassn_jax.data.scenes.SPLIT_SIZES", FEW_IMAGES)
    patch.setattr("jax.device_count", lambda: 1)


def make_networks_tiny(patch: pytest.MonkeyPatch) -> None:
    """Puts one convolution in the place of every ResNet, and makes D narrow."""
    patch.setattr("sassn_jax.models.networks.Generator", TinyGenerator)
    patch.setattr("sassn_jax.models.discriminator.WIDTHS", (4, 4, 4, 4, 1))


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a test."""
    make_runs_small(monkeypatch)


@pytest.fixture
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a test."""
    make_networks_tiny(monkeypatch)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Returns a folder that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture(scope="module")
def trunk() -> dict:
    """Returns the variables of a small ResNet, of random numbers."""
    images = jnp.zeros((1, 33, 33, 3))
    variables = random_variables(ResNet(ARCHITECTURES["resnet_tiny"]), images, train=False)
    return jax.tree.map(np.asarray, variables)


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


@pytest.fixture(scope="session")
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
