import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sassn_jax.models.discriminator import Discriminator
from sassn_jax.models.generator import Generator
from sassn_jax.optimizers import discriminator_optimizer, generator_optimizer
from tests.trees import assert_trees_close, random_variables

CLASSES = 3
IMAGES = jnp.zeros((1, 32, 32, 3))
NUM_STEPS = 7
RATES = {"learning_rate": 0.05, "num_steps": NUM_STEPS}


def five_steps(reference, optimizer, variables, module, torch_optimizer, settings):
    """Updates both with the same gradients, and compares the parameters after each step."""
    params, collections = variables["params"], {**variables}
    del collections["params"]
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    in_torch = copy.deepcopy(module)  # holds the gradients in torch's layout
    rng = np.random.default_rng(0)
    for step in range(5):
        gradients = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), params)
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)

        reference.to_torch(in_torch, gradients, collections)
        for parameter, gradient in zip(module.parameters(), in_torch.parameters(), strict=True):
            parameter.grad = gradient.detach().clone() if parameter.requires_grad else None
        reference.set_learning_rates(torch_optimizer, settings, step)
        torch_optimizer.step()
        assert_trees_close(params, reference.from_torch(module, params), 1e-5)


@pytest.mark.parametrize("norm", ["batch_frozen_affine", "batch"])
def test_sgd_with_its_parameter_groups(reference, norm):
    ours = Generator(num_classes=CLASSES, backbone="resnet_tiny", aspp_rates=(2,), norm=norm)
    variables = random_variables(ours, IMAGES, train=False)
    theirs = reference.Generator(
        CLASSES,
        stage_sizes=(1, 1, 1, 1),
        stem_width=16,
        widths=(16, 32, 64, 128),
        rates=(2,),
        norm=norm,
    )
    reference.to_torch(theirs, variables["params"], {"batch_stats": variables["batch_stats"]})
    settings = reference.Settings(weight_decay=0.02, **RATES)
    players = reference.make_players(theirs, None, settings)
    optimizer = generator_optimizer(
        name="sgd", weight_decay=0.02, train_norm=norm == "batch", **RATES
    )
    five_steps(reference, optimizer, variables, theirs, players.generator_optimizer, settings)


def test_adam_of_the_discriminator(reference):
    maps = jnp.zeros((1, 32, 32, CLASSES))
    variables = random_variables(Discriminator(spectral_norm=True), maps)
    theirs = reference.Discriminator(CLASSES, spectral_norm=True)
    reference.to_torch(theirs, variables["params"], {"spectral": variables["spectral"]})
    settings = reference.Settings(num_steps=NUM_STEPS, discriminator_learning_rate=0.05)
    any_generator = reference.Generator(CLASSES, stage_sizes=(1, 1, 1, 1))
    players = reference.make_players(any_generator, theirs, settings)
    optimizer = discriminator_optimizer(**RATES)
    five_steps(reference, optimizer, variables, theirs, players.discriminator_optimizer, settings)
