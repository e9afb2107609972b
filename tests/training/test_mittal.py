"""A run whose prediction needs two networks: stopped, gone on with, scored, written to a file."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from sassn_jax import methods
from sassn_jax.errors import InputError
from sassn_jax.prediction.export import export_run
from sassn_jax.prediction.run import load_run
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.recipes import parse, resolve
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.setup import learning_rates
from tests.training.conftest import assert_equal_bits, rows_of, tiny_config

pytestmark = pytest.mark.usefixtures("small_runs")


def config_of_a_run():
    config = tiny_config("mittal")
    config.num_steps = config.eval_every = 2
    config.log_every = config.checkpoint_every = 1
    config.eval_batch_size = 3
    return config


@pytest.mark.slow
def test_a_run_goes_on_and_is_scored_and_exported(workdir, tmp_path):
    whole = train_and_evaluate(config_of_a_run(), workdir)
    stopped = tmp_path / "stopped"
    shutil.copytree(workdir, stopped)
    shutil.rmtree(stopped / "checkpoints" / "2")
    assert_equal_bits(whole, train_and_evaluate(config_of_a_run(), stopped))
    assert [row["step"] for row in rows_of(stopped)] == [1, 2, 2]  # the last is the evaluation's
    names = ("loss/feature_matching", "loss/classification", "loss/consistency")
    assert all(name in row for row in rows_of(workdir)[:2] for name in names)
    kernels = [x["params"]["linear"]["kernel"] for x in (whole.teacher, whole.classifier.variables)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0

    written = json.loads((workdir / "eval_val.json").read_text())
    path = tmp_path / "mittal.safetensors"
    export_run(workdir, path)
    assert evaluate_run(path) == written
    run = load_run(path)

    # A run that starts from the file takes G's parts, and begins both its networks with the trunk.
    config = config_of_a_run()
    config.model.weights = str(path)
    method = methods.create(resolve(parse(config))[0], run.info.num_classes)
    images = np.zeros((2, 32, 48, 3), np.float32)
    labels = np.zeros((2, 32, 48), np.int32)
    state = method.init(jax.random.key(0), {"labeled": {"image": images, "label": labels}})
    assert method.generator.pretrained_parts((32, 48)) == ("backbone", "head")
    trunk = whole.generator.variables
    for variables in (state.generator.variables, state.classifier.variables, state.teacher):
        for name, tree in variables.items():
            jax.tree.map(np.testing.assert_array_equal, tree["backbone"], trunk[name]["backbone"])


def test_the_learning_rate_of_each_network_is_logged():
    """The classifier's is half a cosine, for 4 images in place of the published 96."""
    config = config_of_a_run()
    config.num_steps = 10
    typed = parse(config)
    method = methods.create(typed, 3)
    for step in (0, 4, 10):
        rates = learning_rates(typed, method, step, has_discriminator=True)
        down = (1 + math.cos(math.pi * step / 10)) / 2
        poly = (1 - step / 10) ** 0.9
        assert rates == {
            "learning_rate/classifier": pytest.approx((1e-4 + (3e-2 - 1e-4) * down) * 4 / 96),
            "learning_rate/generator": pytest.approx(config.optimizer.lr * poly),
            "learning_rate/discriminator": pytest.approx(config.optimizer.discriminator_lr * poly),
        }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("s4gan.threshold", 1.5, "s4gan.threshold=1.5: expected a number from 0 to 1"),
        ("s4gan.lambda_self_training", -1.0, "s4gan.lambda_self_training=-1.0: expected a number"),
        ("classifier.lr", 0.0, "classifier.lr=0.0: expected a number above 0"),
        ("classifier.burn_in", 10.0, "classifier.burn_in=10.0: expected a number from 0 to 1"),
    ],
)
def test_a_bad_field_is_named(field, value, message):
    config = config_of_a_run()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        parse(config)
