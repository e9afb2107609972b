"""A run small enough for tests, trained once."""

import pytest

from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The workdir of a short adversarial run, whose method has a D that judges masks."""
    from sassn_jax.training.loop import train_and_evaluate

    workdir = tmp_path_factory.mktemp("trained") / "run"
    config = tiny_config("sassn")
    config.num_steps, config.loss.semi_start = 1, 0
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        train_and_evaluate(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def run(trained):
    """The same, loaded. The networks stay small for the rest of the module's tests."""
    from sassn_jax.prediction.run import load_run

    with pytest.MonkeyPatch.context() as patch:
        make_networks_tiny(patch)
        yield load_run(trained)
