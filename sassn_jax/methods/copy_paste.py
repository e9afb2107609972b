"""Copy-paste: rare classes of a labelled image are pasted onto another one.

After Ghiasi et al. 2021, "Simple copy-paste is a strong data augmentation method for instance
segmentation". They choose objects at random and place them anew; here all pixels of rare classes
are taken, and keep their places.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sassn_jax.losses import one_hot
from sassn_jax.methods.views import paste

# A class is rare where its share of the labelled pixels of a batch is smaller. The value is of this
# project and of no paper.
RARE = 0.1


def paste_rare(
    rng: jax.Array,
    images: Float[Array, "B H W 3"],
    labels: Int[Array, "B H W"],
    num_classes: int,
    share: float,
) -> tuple[Float[Array, "B H W 3"], Int[Array, "B H W"]]:
    """Pastes the rare classes of the next image of the batch onto a share of its images.

    The last image takes them from the first.

    Args:
      rng: chooses the images onto which something is pasted.
      images: of the batch.
      labels: class of each pixel; one that is not from 0 to `num_classes - 1` is not pasted.
      num_classes: how many classes there are.
      share: of the images.

    Returns:
      The images and their labels.
    """
    takes_part = jax.random.bernoulli(rng, share, (len(labels), 1, 1))
    others = jnp.roll(labels, -1, axis=0)
    pixels = takes_part & is_rare(others, num_classes)
    return paste(pixels, jnp.roll(images, -1, axis=0), images), paste(pixels, others, labels)


def is_rare(labels: Int[Array, "B H W"], num_classes: int) -> Bool[Array, "B H W"]:
    """Returns the pixels of classes that have less than `RARE` of the batch's labelled pixels."""
    known = (labels >= 0) & (labels < num_classes)
    count = jnp.sum(one_hot(labels, num_classes), axis=(0, 1, 2))
    rare = count < RARE * jnp.sum(count)
    return known & rare[jnp.where(known, labels, 0)]
