"""A small run, and what a report says of it."""

import pytest

from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import make_networks_tiny, make_runs_small, tiny_config


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The workdir of a run of 8 steps, in which the patches that made it small still hold."""
    workdir = tmp_path_factory.mktemp("report") / "first [run] <1>"
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        train_and_evaluate(tiny_config("sassn"), workdir)
        yield workdir
