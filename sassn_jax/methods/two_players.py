"""One step of two players, G and D, as every adversarial method takes it."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from sassn_jax.config import Config
from sassn_jax.methods.segmenter import Segmenter, attention_weights
from sassn_jax.methods.state import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.optimizers import discriminator_optimizer

GeneratorObjective = Callable[
    [Variables, TrainState, Batch], tuple[Float[Array, ""], tuple[Any, Variables, Metrics]]
]
DiscriminatorObjective = Callable[
    [Variables, TrainState, Batch, Any], tuple[Float[Array, ""], tuple[Variables, Metrics]]
]


def optimizer_from_config(config: Config) -> optax.GradientTransformation:
    """Returns D's optimizer."""
    return discriminator_optimizer(
        learning_rate=config.optimizer.discriminator_lr,
        betas=config.optimizer.discriminator_betas,
        num_steps=config.num_steps,
        power=config.optimizer.poly_power,
    )


def init_players(
    generator: Segmenter,
    optimizer: optax.GradientTransformation,
    init_discriminator: Callable[[jax.Array], Variables],
    rng: jax.Array,
    batch: Batch,
) -> TrainState:
    """Returns the state at step 0, in which G is as in supervised training from the same seed.

    Args:
      generator: G.
      optimizer: of D.
      init_discriminator: from a key to D's variables.
      rng: of the run.
      batch: like those of the run.
    """
    state = generator.init_state(rng, batch)
    variables = init_discriminator(jax.random.fold_in(rng, 1))
    return state.replace(discriminator=NetworkState.create(optimizer, variables))


def play(
    generator: Segmenter,
    optimizer: optax.GradientTransformation,
    generator_objective: GeneratorObjective,
    discriminator_objective: DiscriminatorObjective,
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, Metrics]:
    """Updates both players from the same batch, by gradients at the same parameters.

    Args:
      generator: G.
      optimizer: of D.
      generator_objective: from G's parameters, state and batch to what G minimizes; and G's
        outputs, which D sees, G's new collections, and metrics.
      discriminator_objective: from D's parameters, state, batch and G's outputs to what D
        minimizes; and D's new collections, and metrics.
      state: before the step.
      batch: handed to both.
    """
    assert state.discriminator is not None
    (g_loss, (outputs, g_collections, g_metrics)), g_gradients = jax.value_and_grad(
        generator_objective, has_aux=True
    )(state.generator.params, state, batch)
    (d_loss, (d_collections, d_metrics)), d_gradients = jax.value_and_grad(
        discriminator_objective, has_aux=True
    )(state.discriminator.params, state, batch, outputs)

    new_generator, g_health = state.generator.learn(
        "generator", generator.optimizer, g_loss, g_gradients, g_collections
    )
    new_discriminator, d_health = state.discriminator.learn(
        "discriminator", optimizer, d_loss, d_gradients, d_collections
    )
    metrics = g_metrics | d_metrics | attention_weights(state.generator) | g_health | d_health
    state = state.replace(
        step=state.step + 1, generator=new_generator, discriminator=new_discriminator
    )
    return state, metrics
