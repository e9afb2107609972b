"""A run and a network small enough for tests."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import scenes
from sassn_jax.models.resnet import ARCHITECTURES, ResNet
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
