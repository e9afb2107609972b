"""`debug_nans` names the operation that gave NaN."""

import re

import jax
import jax.numpy as jnp
import pytest

from sassn_jax.errors import TrainingError
from sassn_jax.methods.supervised import Supervised
from sassn_jax.training.debugging import find_operation
from sassn_jax.training.loop import train_and_evaluate
from tests.methods.conftest import TinyGenerator, make_batch, segmenter, tiny_state

from .conftest import rows_of, tiny_config


@pytest.mark.usefixtures("small_runs", "tiny_networks")
def test_a_run_ends_at_the_first_nan_with_the_line_that_gave_it(workdir):
    """In the compiled step, whose state is donated; the parameters are as large as the rate."""
    config = tiny_config("supervised")
    config.optimizer.lr = 1e30
    config.debug_nans = True
    with pytest.raises(TrainingError) as error:
        train_and_evaluate(config, workdir)
    found = re.fullmatch(
        r"step 2: loss/generator is nan. An operation gives NaN, by `\w+`: "
        r"(sassn_jax/\S+\.py), line (\d+), in \w+: (.*)",
        str(error.value),
    )
    assert found, error.value
    path, line, source = found.groups()
    with open(path) as file:
        assert file.read().splitlines()[int(line) - 1].strip() == source
    assert [row["step"] for row in rows_of(workdir)] == [1]


class Rooted(Supervised):
    """A method whose gradient is not a number where its loss is 0."""

    def step(self, state, batch):
        def objective(params, state, batch):
            return jnp.sqrt(0 * jnp.sum(params["head"]["bias"])), ({}, {})

        return self.generator.take_step(objective, state, batch)


def test_a_gradient_is_named_with_its_operation():
    method = Rooted(segmenter(TinyGenerator(4)))
    state, batch = tiny_state(method.generator.network), make_batch()
    found = find_operation(method, state, batch)
    assert found.startswith("The gradient of an operation gives NaN, by `mul`: sassn_jax/")
    images = {**batch["labeled"], "image": batch["labeled"]["image"].at[0, 0, 0, 0].set(jnp.inf)}
    assert "the images of the batch are not finite" in find_operation(
        method, state, {"labeled": images}
    )


def test_a_healthy_step_has_no_such_operation():
    """A precision that nobody knows is NaN by intent."""
    from sassn_jax.methods.segmenter import self_training_health

    class Healthy(Supervised):
        def step(self, state, batch):
            labels = jnp.full((1, 2, 2), 255)
            return self_training_health(labels > 0, jnp.zeros((1, 2, 2, 4)), labels, 255)

    method = Healthy(segmenter(TinyGenerator(4)))
    state = tiny_state(method.generator.network)
    assert find_operation(method, state, make_batch()).startswith("No single operation gives NaN")
    assert not jax.config.jax_debug_nans
