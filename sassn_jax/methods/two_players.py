"""A step of two players, G and D, which every adversarial method takes alike."""

import abc
import dataclasses
from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from sassn_jax.methods.method import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.methods.supervised import Supervised, generator_health


@dataclasses.dataclass(frozen=True)
class TwoPlayers(Supervised, abc.ABC):
    """G, and a discriminator D that learns from what G made of the same batch.

    Gradients of both players are taken at the same parameters.

    Attributes:
      discriminator_optimizer: of D's parameters.
    """

    discriminator_optimizer: optax.GradientTransformation = dataclasses.field(kw_only=True)

    @abc.abstractmethod
    def init_discriminator(self, rng: jax.Array, batch: Batch) -> Variables:
        """Returns D's variables at step 0, for batches like this one."""

    @abc.abstractmethod
    def generator_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Any, Variables, Metrics]]:
        """Returns what G minimizes; and its outputs for D, its new collections, metrics."""

    @abc.abstractmethod
    def discriminator_objective(
        self, params: Variables, state: TrainState, batch: Batch, outputs: Any
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Returns what D minimizes, G's outputs as constants; and its new collections, metrics."""

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0, where G is as in supervised training from the same seed."""
        state = super().init(rng, batch)
        variables = self.init_discriminator(jax.random.fold_in(rng, 1), batch)
        discriminator = NetworkState.create(self.discriminator_optimizer, variables)
        return state.replace(discriminator=discriminator)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates both players from the same batch."""
        (_, (outputs, g_collections, g_metrics)), g_gradients = jax.value_and_grad(
            self.generator_objective, has_aux=True
        )(state.generator.params, state, batch)
        (_, (d_collections, d_metrics)), d_gradients = jax.value_and_grad(
            self.discriminator_objective, has_aux=True
        )(state.discriminator.params, state, batch, outputs)

        metrics = g_metrics | d_metrics | generator_health(state.generator, g_gradients)
        metrics["gradient_norm/discriminator"] = optax.tree.norm(d_gradients)
        state = state.replace(
            step=state.step + 1,
            generator=state.generator.apply_gradients(
                self.generator_optimizer, g_gradients, g_collections
            ),
            discriminator=state.discriminator.apply_gradients(
                self.discriminator_optimizer, d_gradients, d_collections
            ),
        )
        return state, metrics
