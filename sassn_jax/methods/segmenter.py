"""The segmentation network in training: how it starts, one pass, its loss on labels, its update."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.config import Config
from sassn_jax.losses import cross_entropy_loss, masked_mean
from sassn_jax.methods.copy_paste import paste_rare
from sassn_jax.methods.state import PASTE, Batch, Metrics, NetworkState, TrainState, Variables
from sassn_jax.models.generator import AUXILIARY
from sassn_jax.models.networks import SegmentationNetwork
from sassn_jax.optimizers import generator_optimizer
from sassn_jax.weights import Pretrained

AUXILIARY_WEIGHT = 0.5  # of the auxiliary head's loss, in torchvision's training script

Objective = Callable[
    [Variables, TrainState, Batch], tuple[Float[Array, ""], tuple[Variables, Metrics]]
]


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """G and its optimizer; a part of every method.

    Attributes:
      network: G.
      optimizer: of its parameters.
      pretrained: the weights that it starts from, None for random ones.
      ignore_label: pixels that take no part in the loss.
      paste: the share of labelled images onto which the rare classes of another one are pasted.
      accumulation: pieces that a batch is taken in, one after the other. The backward pass computes
        each piece's forward pass again, so that it needs the memory of one piece alone. Losses and
        gradients are those of the whole batch, but for batch statistics and dropout, which are each
        piece's own; running statistics are updated by one piece after the other.
    """

    network: SegmentationNetwork
    optimizer: optax.GradientTransformation
    pretrained: Pretrained | None = None
    ignore_label: int = 255
    paste: float = 0.0
    accumulation: int = 1

    @classmethod
    def from_config(cls, config: Config, num_classes: int, ignore_label: int) -> "Segmenter":
        """Builds the network and the optimizer that a config describes."""
        model, optimizer = config.model, config.optimizer
        return cls(
            network=model.create_network(num_classes),
            optimizer=generator_optimizer(
                name=optimizer.name,
                learning_rate=config.learning_rate,
                momentum=optimizer.momentum,
                weight_decay=optimizer.weight_decay,
                new_layer_multiplier=optimizer.new_layer_multiplier,
                train_norm=model.norm == "batch",
                num_steps=config.num_steps,
                power=optimizer.poly_power,
            ),
            pretrained=(
                Pretrained(model.weights, model.head, model.aspp_rates) if model.weights else None
            ),
            ignore_label=ignore_label,
            paste=config.augment.paste,
            accumulation=config.accumulation,
        )

    @property
    def num_classes(self) -> int:
        """How many classes the network tells apart."""
        return self.network.num_classes

    def init_state(self, rng: jax.Array, batch: Batch) -> TrainState:
        """Returns the state at step 0 of a method that trains nothing else.

        Raises:
          InputError: if the file of weights is of another network.
        """
        init_rng, rng = jax.random.split(rng)
        images = jnp.asarray(batch["labeled"]["image"])
        init = functools.partial(self.network.init, train=False)
        variables = jax.jit(init)(init_rng, images[:1])
        if self.pretrained is not None:
            variables = self.pretrained.load(self.network.make_backbone(), variables, images)
        network = NetworkState.create(self.optimizer, variables)
        return TrainState(step=jnp.zeros((), jnp.int32), rng=rng, generator=network)

    def pretrained_parts(self, image_size: tuple[int, ...]) -> tuple[str, ...]:
        """Names the parts that the file of weights gives: `backbone`, perhaps `head` and more.

        Args:
          image_size: height and width of an image, pixels.

        Raises:
          InputError: if the file cannot be read, or is of another network.
        """
        return () if self.pretrained is None else self.pretrained.parts(self.shapes(image_size))

    def shapes(self, image_size: tuple[int, ...]) -> Any:
        """Returns the shapes of G's variables; the network is traced, and nothing is computed."""
        images = jax.ShapeDtypeStruct((1, *image_size, 3), "float32")
        init = functools.partial(self.network.init, train=False)
        return jax.eval_shape(init, jax.random.key(0), images)

    def augment(self, state: TrainState, batch: Batch) -> Batch:
        """Returns the batch that a step learns from: with `paste`, rare classes are pasted.

        Only the labelled half changes, see `paste_rare`.
        """
        if not self.paste:
            return batch
        labeled = batch["labeled"]
        rng = jax.random.fold_in(state.step_rng, PASTE)
        image, label = paste_rare(
            rng, labeled["image"], labeled["label"], self.num_classes, self.paste
        )
        return {**batch, "labeled": {**labeled, "image": image, "label": label}}

    def take_step(
        self, objective: Objective, state: TrainState, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        """Updates G by the gradient of an objective.

        Args:
          objective: from G's parameters, the state and the batch to what is minimized; and G's new
            collections and metrics.
          state: before the step.
          batch: handed to the objective.
        """
        (loss, (collections, metrics)), gradients = jax.value_and_grad(objective, has_aux=True)(
            state.generator.params, state, batch
        )
        generator, health = state.generator.learn(
            "generator", self.optimizer, loss, gradients, collections
        )
        metrics |= attention_weights(state.generator) | health
        return state.replace(step=state.step + 1, generator=generator), metrics

    def supervised_objective(
        self, params: Variables, state: TrainState, batch: Batch
    ) -> tuple[Float[Array, ""], tuple[Variables, Metrics]]:
        """Equation (2) of the paper, on the labelled half of a batch.

        Returns:
          The objective; and G's new collections and metrics.
        """
        labeled = batch["labeled"]
        logits, auxiliary_logits, collections = self.forward(
            params, state.generator.collections, labeled["image"], state.step_rng
        )
        loss, metrics = self.label_loss(logits, auxiliary_logits, labeled["label"])
        return loss, (collections, {"loss/generator": loss, **metrics})

    def forward(
        self,
        params: Variables,
        collections: Variables,
        images: Float[Array, "B H W 3"],
        rng: jax.Array,
        *,
        groups: int = 1,
        perturbed_group: int | None = None,
    ) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W C"] | None, Variables]:
        """One pass of G in training mode.

        Args:
          params: of G.
          collections: of G, before the pass.
          images: normalized.
          rng: for dropout.
          groups: see `Generator`.
          perturbed_group: see `Generator`.

        Returns:
          Its logits, those of its auxiliary head, if it has one, and its new collections.
        """
        # Only a `Generator` can perturb features; a network on a VGG has no such argument.
        options: dict[str, Any] = {}
        if perturbed_group is not None:
            options["perturbed_group"] = perturbed_group

        def take(collections: Variables, piece: tuple[Any, Any]) -> tuple[Variables, Any]:
            images, rng = piece
            logits, updates = self.network.apply(
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

        collections, (logits, auxiliary) = in_pieces(
            take, collections, images, rng, groups=groups, pieces=self.accumulation
        )
        return logits, auxiliary, collections

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

    def logits(
        self, variables: Variables, images: Float[Array, "B H W 3"]
    ) -> Float[Array, "B H W C"]:
        """Returns logits at the size of the images, with the network in evaluation."""
        logits: Any = self.network.apply(variables, images, train=False)
        return logits


def in_pieces(
    take: Callable[[Variables, tuple[Any, Any]], tuple[Variables, Any]],
    collections: Variables,
    images: Float[Array, "B H W 3"],
    rng: jax.Array,
    *,
    groups: int,
    pieces: int,
) -> tuple[Variables, Any]:
    """Passes a batch through a network in pieces, and joins what comes out.

    Args:
      take: from a network's collections, and images with a key, to new collections and outputs.
      collections: before the first piece.
      images: of the batch.
      rng: for the whole batch.
      groups: interleaved parts of the batch; every piece has its share of each.
      pieces: how many; the batch is not cut where it is 1.
    """
    if pieces == 1:
        return take(collections, (images, rng))
    # A piece takes every so many pairs, so that it is spread over all devices.
    cut = rearrange(images, "(n p g) ... -> p (n g) ...", p=pieces, g=groups)
    rngs = jax.random.split(rng, pieces)
    collections, results = jax.lax.scan(jax.checkpoint(take), collections, (cut, rngs))
    join = "p (n g) ... -> (n p g) ..."
    return collections, jax.tree.map(lambda x: rearrange(x, join, g=groups), results)


def attention_weights(generator: NetworkState) -> Metrics:
    """Returns alpha of each attention of G."""
    return {
        f"alpha/{name}": layer["alpha"]
        for name, layer in generator.params.items()
        if name.startswith("attention")
    }


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
      labels: of the images; `ignore_label` where they are not known.
      ignore_label: see `labels`.
      name: what the metrics' names begin with.
      valid: the pixels that the share is of, None for all.
    """
    known = keep & (labels != ignore_label)
    right = masked_mean((jnp.argmax(logits, -1) == labels).astype(jnp.float32), known)
    with jax.debug_nans(False):  # not a mistake, where that is looked for
        precision = jnp.where(jnp.any(known), right, jnp.nan)
    return {
        f"{name}/kept": masked_mean(
            keep.astype(jnp.float32), jnp.ones_like(keep) if valid is None else valid
        ),
        f"{name}/precision": precision,
    }
