"""A run of a method with a teacher."""

import jax
import numpy as np
import pytest

from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.training.loop import train_and_evaluate
from tests.training.conftest import FEW_IMAGES, tiny_config

from .conftest import assert_equal_bits, rows_of, train_until


@pytest.mark.usefixtures("tiny_networks")
def test_a_run_with_a_teacher_is_resumed_scored_and_exported(workdir, monkeypatch):
    """The whole way of the teacher, which is what predicts; on both devices."""
    monkeypatch.setattr("sassn_jax.data.scenes.SPLIT_SIZES", FEW_IMAGES)
    config = tiny_config("cutmix")

    train_until(6, config, workdir, monkeypatch)
    state = train_and_evaluate(config, workdir)
    assert int(state.step) == 8
    assert_equal_bits(train_and_evaluate(config, workdir), state)  # from the last checkpoint
    assert {"loss/consistency", "consistency/kept"} <= rows_of(workdir)[0].keys()

    student = jax.tree.leaves(state.generator.variables)
    teacher = jax.tree.leaves(state.teacher)
    assert any(np.any(x != y) for x, y in zip(student, teacher, strict=True))
    exported = workdir.with_name("model.safetensors")
    export_run(workdir, exported)
    for run in (load_run(workdir), load_run(exported)):
        assert_equal_bits(jax.device_get(run.variables), jax.device_get(state.teacher))

    assert evaluate_run(workdir)["miou"] == pytest.approx(rows_of(workdir)[-1]["val/miou"])
