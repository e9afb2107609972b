"""Training on the labelled images alone: equation (2) of the paper."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sassn_jax.losses import cross_entropy_loss
from sassn_jax.methods.method import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.models.generator import Generator
from sassn_jax.weights import PretrainedBackbone


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Cross entropy on labelled images.

    Attributes:
      generator: the segmentation network.
      generator_optimizer: of its parameters.
      pretrained: weights that its trunk starts from, None for random ones.
      ignore_label: pixels that take no part.
    """

    generator: Generator
    generator_optimizer: optax.GradientTransformation
    pretrained: PretrainedBackbone | None = None
    ignore_label: int = 255

    @property
    def unlabeled_from(self) -> int | None:
        """No step takes unlabelled images."""
        return None

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0."""
        init_rng, rng = jax.random.split(rng)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            rng=rng,
            generator=self._init_generator(init_rng, batch),
            discriminator=None,
        )

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Learns from the labelled half of a batch."""
        labeled = batch["labeled"]

        def objective(params: Variables) -> tuple[jax.Array, Variables]:
            logits, collections = self.generator.apply(
                {"params": params, **state.generator.collections},
                labeled["image"],
                train=True,
                mutable=["batch_stats"],
            )
            loss = cross_entropy_loss(logits, labeled["label"], self.ignore_label)
            return loss, collections

        (loss, collections), gradients = jax.value_and_grad(objective, has_aux=True)(
            state.generator.params
        )
        metrics = {"loss/generator": loss, "loss/cross_entropy": loss}
        metrics |= generator_health(state.generator, gradients)
        generator = state.generator.apply_gradients(
            self.generator_optimizer, gradients, collections
        )
        return state.replace(step=state.step + 1, generator=generator), metrics

    def predict(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """Returns class probabilities at the size of the images."""
        logits: Any = self.generator.apply(variables, images, train=False)
        return jax.nn.softmax(logits)

    def confidence(
        self, state: TrainState, probabilities: Float[Array, "B H W C"]
    ) -> Float[Array, "B H W"] | None:
        """There is no discriminator to be confident."""
        return None

    def _init_generator(self, rng: jax.Array, batch: Batch) -> NetworkState:
        init = jax.jit(functools.partial(self.generator.init, train=False))
        images = jnp.asarray(batch["labeled"]["image"])
        variables = init(rng, images[:1])
        if self.pretrained is not None:
            variables = self.pretrained.load(self.generator.make_backbone(), variables, images)
        return NetworkState.create(self.generator_optimizer, variables)


def generator_health(generator: NetworkState, gradients: Variables) -> Metrics:
    """Returns what tells a healthy G from a sick one: gradient norm, alpha of each attention."""
    alphas = {
        f"alpha/{name}": layer["alpha"]
        for name, layer in generator.params.items()
        if name.startswith("attention")
    }
    return {"gradient_norm/generator": optax.tree.norm(gradients), **alphas}
