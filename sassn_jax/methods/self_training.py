"""Self-training on mixed images: G learns there what it predicts for the images as they are."""

import jax
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.losses import masked_cross_entropy
from sassn_jax.methods.segmenter import Segmenter
from sassn_jax.methods.state import MIXED, Batch, TrainState, Variables
from sassn_jax.methods.views import half_boxes, mix


def mixed_self_training(
    generator: Segmenter,
    params: Variables,
    collections: Variables,
    classes: Int[Array, "B H W"],
    keep: Bool[Array, "B H W"],
    state: TrainState,
    batch: Batch,
) -> tuple[Float[Array, ""], Variables]:
    """Equation (4) of the paper on mixed images, in a pass of their own.

    Each unlabelled image gets a box pasted in from the next one, see `half_boxes`, and so do its
    targets, which are the classes of the images as they are.

    Args:
      generator: G.
      params: of G, to learn.
      collections: of G, after its passes for the images as they are.
      classes: that the unlabelled images, as they are, teach.
      keep: pixels of these that teach.
      state: before the step.
      batch: with an unlabelled half.

    Returns:
      The mean over the pixels that teach, 0 where none does; and G's new collections.
    """
    images = batch["unlabeled"]["image"]
    box_rng, pass_rng = jax.random.split(jax.random.fold_in(state.step_rng, MIXED))
    boxes = half_boxes(box_rng, len(images), images.shape[1:3])
    images, classes, keep = (mix(x, boxes) for x in (images, classes, keep))
    logits, _, collections = generator.forward(params, collections, images, pass_rng)
    return masked_cross_entropy(logits, classes, keep), collections
