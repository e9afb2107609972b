"""A run of UniMatch on top of the paper's method, stopped and gone on with, scored and exported."""

import json
import shutil

import jax
import numpy as np
import pytest

from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import assert_equal_bits, rows_of, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_runs")]


def test_a_run_goes_on_and_is_scored_and_exported(workdir, tmp_path):
    """In bfloat16, which has to stay finite."""
    config = tiny_config("unimatch_sassn")
    config.num_steps = config.eval_every = 2
    config.log_every = config.checkpoint_every = 1
    config.loss.semi_start = 0  # one step to compile
    config.model.dtype = "bfloat16"
    whole = train_and_evaluate(config, workdir)
    stopped = tmp_path / "stopped"
    shutil.copytree(workdir, stopped)
    shutil.rmtree(stopped / "checkpoints" / "2")
    assert_equal_bits(whole, train_and_evaluate(config, stopped))
    for network in (whole.generator, whole.discriminator):
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(network))
    for row in rows_of(workdir)[:2]:
        for name in ("loss/self_training", "loss/strong1", "loss/strong2", "loss/features"):
            assert np.isfinite(row[name])
        assert row["consistency/kept"] <= 1

    path = tmp_path / "unimatch.safetensors"
    export_run(workdir, path)
    assert evaluate_run(path) == json.loads((workdir / "eval_val.json").read_text())
