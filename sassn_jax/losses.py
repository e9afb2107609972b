"""Equations (2) to (5) of the paper, each a mean over the pixels that take part.

The paper writes sums, but its weights (0.001 to 0.1) only make sense with means, which AdvSemiSeg's
code computes. All losses take logits, never probabilities.

Compiled code cannot raise for a label that is no class. Each docstring says what such a label
gives; `TrainTransform` and `evaluate` check labels before.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def masked_mean(values: Float[Array, "*S"], mask: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Returns the mean of `values` where `mask` is set, 0 where it is set nowhere."""
    count = jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)
    return jnp.sum(jnp.where(mask, values, 0)) / count


def one_hot(labels: Int[Array, "B H W"], num_classes: int) -> Float[Array, "B H W C"]:
    """Returns the labels as the discriminator sees them.

    A pixel whose label is not from 0 to `num_classes - 1`, such as an ignored one, is all zeros.
    """
    return jax.nn.one_hot(labels, num_classes)


def cross_entropy_loss(
    logits: Float[Array, "B H W C"], labels: Int[Array, "B H W"], ignore_label: int = 255
) -> Float[Array, ""]:
    """Multi-class cross entropy over the labelled pixels: equation (2) of the paper.

    Args:
      logits: of G, unnormalized.
      labels: class of each pixel, 0 to C - 1, or `ignore_label`.
      ignore_label: pixels that do not take part.

    Returns:
      The mean over the pixels that take part, 0 where none does; NaN for a label of C or more, or
      below -C. A label from -C to -1 counts back from the last class, like an index in NumPy.
    """
    valid = labels != ignore_label
    return masked_cross_entropy(logits, jnp.where(valid, labels, 0), valid)


def masked_cross_entropy(
    logits: Float[Array, "B H W C"], classes: Int[Array, "B H W"], mask: Bool[Array, "B H W"]
) -> Float[Array, ""]:
    """Multi-class cross entropy over the pixels of a mask, 0 where it is set nowhere.

    Args:
      logits: unnormalized.
      classes: what each pixel should be, from 0 to C - 1.
      mask: pixels that take part.
    """
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
    return masked_mean(cross_entropy, mask)


def adversarial_loss(
    confidence_logits: Float[Array, "B H W"], valid: Bool[Array, "B H W"]
) -> Float[Array, ""]:
    """Small where D takes G's predictions for labels: equation (3) of the paper.

    Args:
      confidence_logits: of D in G's predictions.
      valid: pixels that take part.

    Returns:
      The mean of `-log D(G(x))` over the pixels that take part, 0 where none does.
    """
    return masked_mean(jax.nn.softplus(-confidence_logits), valid)


def trusted(
    confidence: Float[Array, "B H W"],
    threshold: float,
    valid: Bool[Array, "B H W"] | None = None,
) -> Bool[Array, "B H W"]:
    """Returns the pixels that teach G in equation (4) of the paper.

    Args:
      confidence: of D in G's predictions, a probability per pixel. Treated as a constant.
      threshold: pixels with a confidence above it take part (T_semi, 0.2 in the paper).
      valid: pixels that may take part, None for all.
    """
    keep = jax.lax.stop_gradient(confidence) > threshold
    return keep if valid is None else keep & valid


def self_training_loss(
    logits: Float[Array, "B H W C"],
    confidence: Float[Array, "B H W"],
    threshold: float,
    valid: Bool[Array, "B H W"] | None = None,
) -> tuple[Float[Array, ""], Bool[Array, "B H W"]]:
    """Cross entropy to G's own most likely class where D is confident: equation (4) of the paper.

    Args:
      logits: of G, unnormalized, on unlabelled images.
      confidence: of D in those predictions, a probability per pixel. Treated as a constant.
      threshold: pixels with a confidence above it take part (T_semi, 0.2 in the paper).
      valid: pixels that may take part, None for all.

    Returns:
      The mean over the pixels that take part, 0 where none does, and which pixels take part.
    """
    keep = trusted(confidence, threshold, valid)
    target = jnp.argmax(logits, axis=-1)  # integers: no gradient flows through the target
    return masked_cross_entropy(logits, target, keep), keep


def discriminator_loss(
    fake_logits: Float[Array, "*S"],
    fake_valid: Bool[Array, "*S"],
    real_logits: Float[Array, "*s"],
    real_valid: Bool[Array, "*s"],
) -> Float[Array, ""]:
    """Binary cross entropy of D, fakes against 0 and labels against 1: equation (5) of the paper.

    Args:
      fake_logits: of D for G's predictions, one for each pixel or each image.
      fake_valid: pixels of the predictions that take part.
      real_logits: of D for one-hot labels.
      real_valid: pixels of the labels that take part.

    Returns:
      The mean of the two halves: log 2 for a D that cannot distinguish them, 0.2 to 0.5 in a
      healthy run.
    """
    fake = masked_mean(jax.nn.softplus(fake_logits), fake_valid)
    real = masked_mean(jax.nn.softplus(-real_logits), real_valid)
    return (fake + real) / 2
