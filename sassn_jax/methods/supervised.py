"""Training on the labelled images alone: equation (2) of the paper."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.losses import cross_entropy_loss, masked_mean
from sassn_jax.methods.method import Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.models.generator import AUXILIARY
from sassn_jax.models.networks import SegmentationNetwork
from sassn_jax.weights import Pretrained

AUXILIARY_WEIGHT = 0.5  # of the auxiliary head's loss, in torchvision's training script


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Cross entropy on labelled images.

    Attributes:
      generator: the segmentation network.
      generator_optimizer: of its parameters.
      pretrained: weights that it starts from, None for random ones.
      ignore_label: pixels that take no part.
      accumulation: pieces that G takes a batch in, one after the other, each from its images alone
        in the backward pass too: the memory of one piece for a second forward pass. Losses and
        gradients are those of the whole batch, but for batch statistics and dropout, which are each
        piece's own; the running statistics take the pieces in turn.
    """

    generator: SegmentationNetwork
    generator_optimizer: optax.GradientTransformation
    pretrained: Pretrained | None = None
    ignore_label: int = 255
    accumulation: int = 1

    @property
    def unlabeled_from(self) -> int | None:
        """No step takes unlabelled images."""
        return None

    @property
    def takes_valid(self) -> bool:
        """Labels say where they are ignored."""
        return False

    def init(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0."""
        init_rng, rng = jax.random.split(rng)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            rng=rng,
            generator=self._init_generator(init_rng, batch),
        )

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Updates G by the gradient of `objective`."""
        (_, (collections, metrics)), gradients = jax.value_and_grad(self.objective, has_aux=True)(
            state.generator.params, state, batch
        )
        metrics |= generator_health(state.generator, gradients)
        generator = state.generator.apply_gradients(
            self.generator_optimizer, gradients, collections
        )
        return state.replace(step=state.step + 1, generator=generator), metrics

    def objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Equation (2) of the paper, on the labelled half of a batch.

        Returns:
          The objective; and G's new collections and metrics.
        """
        labeled = batch["labeled"]
        logits, auxiliary_logits, collections = self.forward(params, state, labeled["image"])
        loss, metrics = self.label_loss(logits, auxiliary_logits, labeled["label"])
        return loss, (collections, {"loss/generator": loss, **metrics})

    def forward(
        self,
        params: Variables,
        state: TrainState,
        images: Float[Array, "B H W 3"],
        *,
        groups: int = 1,
        perturbed_group: int | None = None,
    ) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W C"] | None, Variables]:
        """One pass of G as in training.

        Args:
          params: of G.
          state: of which the pass takes G's collections, and `rng` and `step` for its randomness.
          images: normalized.
          groups: see `Generator`.
          perturbed_group: see `Generator`.

        Returns:
          Its logits, those of its auxiliary head, if it has one, and its new collections.
        """
        # Only a `Generator` knows of perturbation; a VGG's network is not asked for it.
        options: dict[str, Any] = {}
        if perturbed_group is not None:
            options["perturbed_group"] = perturbed_group

        def take(collections: Variables, piece: tuple[Any, Any]) -> tuple[Variables, Any]:
            images, rng = piece
            logits, updates = self.generator.apply(
                {"params": params, **collections},
                images,
                train=True,
                groups=groups,
                **options,
                rngs={"dropout": rng},
                mutable=["batch_stats", AUXILIARY],
            )
            new: dict[str, Any] = dict(updates)
            auxiliary = new.pop(AUXILIARY, None)
            return new, (logits, None if auxiliary is None else auxiliary["logits"][0])

        collections = state.generator.collections
        rng = jax.random.fold_in(state.rng, state.step)
        collections, (logits, auxiliary) = self.in_pieces(
            take, collections, images, rng, groups=groups
        )
        return logits, auxiliary, collections

    def in_pieces(
        self,
        take: Callable[[Variables, tuple[Any, Any]], tuple[Variables, Any]],
        collections: Variables,
        images: Float[Array, "B H W 3"],
        rng: jax.Array,
        *,
        groups: int,
    ) -> tuple[Variables, Any]:
        """Returns what `take` makes of a batch in `accumulation` pieces, joined again.

        Args:
          take: from a network's collections, and images with a key, to new ones and its outputs.
          collections: before the first piece.
          images: of the batch.
          rng: for the whole of it.
          groups: interleaved parts of the batch, each of which every piece has its share of.
        """
        if self.accumulation == 1:
            return take(collections, (images, rng))
        # A piece takes every so many pairs, so that it is spread over all devices.
        cut = "(n p g) ... -> p (n g) ..."
        pieces = rearrange(images, cut, p=self.accumulation, g=groups)
        rngs = jax.random.split(rng, self.accumulation)
        collections, results = jax.lax.scan(jax.checkpoint(take), collections, (pieces, rngs))
        join = "p (n g) ... -> (n p g) ..."
        return collections, jax.tree.map(lambda x: rearrange(x, join, g=groups), results)

    def label_loss(
        self,
        logits: Float[Array, "B H W C"],
        auxiliary_logits: Float[Array, "B H W C"] | None,
        labels: Int[Array, "B H W"],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Equation (2) of the paper, with torchvision's half of that of an auxiliary head."""
        loss = cross_entropy_loss(logits, labels, self.ignore_label)
        metrics = {"loss/cross_entropy": loss}
        if auxiliary_logits is not None:
            auxiliary = cross_entropy_loss(auxiliary_logits, labels, self.ignore_label)
            metrics["loss/auxiliary"] = auxiliary
            loss += AUXILIARY_WEIGHT * auxiliary
        return loss, metrics

    def inference_variables(self, state: TrainState) -> Variables:
        """Returns what `predict` takes of a state: G."""
        return state.generator.variables

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


def self_training_health(
    keep: Bool[Array, "B H W"],
    logits: Float[Array, "B H W C"],
    labels: Int[Array, "B H W"],
    ignore_label: int,
    name: str = "self_training",
    valid: Bool[Array, "B H W"] | None = None,
) -> Metrics:
    """Returns the share of pixels that are kept to learn from, and how much of it is right.

    Args:
      keep: pixels whose most likely class G learns.
      logits: of G.
      labels: of the images, where they are known; they serve this alone.
      ignore_label: where they are not.
      name: that the metrics begin with.
      valid: pixels that the share is of, None for all.
    """
    known = keep & (labels != ignore_label)
    right = masked_mean((jnp.argmax(logits, -1) == labels).astype(jnp.float32), known)
    return {
        f"{name}/kept": masked_mean(
            keep.astype(jnp.float32), jnp.ones_like(keep) if valid is None else valid
        ),
        f"{name}/precision": jnp.where(jnp.any(known), right, jnp.nan),
    }
