"""Methods with a mask, of tiny networks, and a batch for them."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax import methods
from sassn_jax.recipes import override, parse
from tests.methods.conftest import with_generator
from tests.training.conftest import make_networks_tiny, tiny_config

CLASSES = 3
SIZE = (64, 96)  # of which D sees more than one position
THRESHOLDS = {
    "sassn": "loss.semi_threshold",
    "cutmix": "cutmix.threshold",
    "cutmix with cross entropy": "cutmix.threshold",
    "unimatch": "unimatch.threshold",
}


@pytest.fixture(params=THRESHOLDS)
def name(request):
    """The name of a method, perhaps with what is changed of it."""
    return request.param


@pytest.fixture
def create(name, monkeypatch):
    """Returns a function from a threshold to the method."""
    make_networks_tiny(monkeypatch)
    method_name, _, change = name.partition(" ")
    config = parse(tiny_config(method_name))
    if change:
        config = override(config, {"cutmix.loss": "cross_entropy"})

    def method(threshold):
        made = methods.create(override(config, {THRESHOLDS[name]: threshold}), CLASSES)
        return with_generator(made, optimizer=optax.sgd(1.0))  # so that a step shows the gradient

    return method


def make_batch(count=2, seed=0):
    """Both halves, all pixels with a known class."""
    rng = np.random.default_rng(seed)

    def half():
        return {
            "image": jnp.asarray(rng.normal(size=(count, *SIZE, 3)), "float32"),
            "label": jnp.asarray(rng.integers(0, CLASSES, (count, *SIZE)), "int32"),
            "valid": jnp.ones((count, *SIZE), bool),
        }

    return {"labeled": half(), "unlabeled": half()}


def with_labels(batch, labels):
    return {**batch, "unlabeled": {**batch["unlabeled"], "label": labels}}
