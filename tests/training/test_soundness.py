"""A healthy state is told from one that is finite but ruined, and the last one is kept."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from sassn_jax.methods import TrainState
from sassn_jax.methods.state import NetworkState
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.soundness import fault_of
from sassn_jax.training.workdir import Workdir
from tests.training.test_damaged_checkpoints import some_batches, some_state

USUAL = {"loss/cross_entropy": 2.5}


def state_of(generator: float, discriminator: float = 0.1) -> TrainState:
    def network(largest: float) -> NetworkState:
        return NetworkState({"a": jnp.zeros((2, 3)), "b": jnp.full(4, -largest)}, {}, ())

    return some_state().replace(generator=network(generator), discriminator=network(discriminator))


@pytest.mark.parametrize(
    ("state", "values", "num_classes", "fault"),
    [
        (state_of(0.5), USUAL, 21, ""),
        (state_of(0.5), {}, 21, ""),  # before the first step
        (state_of(50.0), {"loss/cross_entropy": 8.0}, 2, ""),
        (state_of(3e29), USUAL, 21, "the largest parameter of the generator is 3e+29"),
        (state_of(0.5, 2e4), USUAL, 21, "the largest parameter of the discriminator is 2e+04"),
        (state_of(np.nan), USUAL, 21, "the largest parameter of the generator is nan"),
        (state_of(0.5, np.inf), USUAL, 21, "the largest parameter of the discriminator is inf"),
        (state_of(0.5), {"loss/cross_entropy": 1e5}, 21, "loss/cross_entropy is 1e+05"),
        (state_of(0.5), {"loss/cross_entropy": np.nan}, 1, "loss/cross_entropy is nan"),
    ],
)
def test_faults(state, values, num_classes, fault):
    assert fault_of(state, values, num_classes) == fault


def test_the_last_healthy_one_is_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    mious = {10: 0.9, 20: 0.5, 30: 0.6}
    with Checkpoints(Workdir(tmp_path)) as checkpoints:
        for step in range(0, 70, 10):
            fault = "ruined" if step > 30 else ""
            checkpoints.save(some_state(step), some_batches(), mious.get(step), fault=fault)
        assert checkpoints.healthy_step() == 30
    assert sorted(os.listdir(folder)) == ["10", "30", "50", "60"]  # best, healthy, latest two
    with Checkpoints(Workdir(tmp_path), keep=1) as checkpoints:
        assert (checkpoints.healthy_step(), checkpoints.healthy_step(30)) == (30, 10)
        checkpoints.save(some_state(70), some_batches(), None)
        assert checkpoints.healthy_step() == 70
    assert sorted(os.listdir(folder)) == ["10", "70"]
