"""Copy-paste: what is rare among the labels is pasted onto unlabelled images.

Ghiasi et al. 2021, "Simple copy-paste is a strong data augmentation method for instance
segmentation", paste objects of one labelled image onto another. Tranheden et al. 2021, "DACS",
paste half of the classes of a labelled image onto an unlabelled one, whose other pixels learn from
predictions. Here it is the rare classes, since it is these that pseudo-labels push out.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from sassn_jax.config import Settings
from sassn_jax.fields import Probability
from sassn_jax.losses import one_hot


@dataclasses.dataclass(frozen=True)
class CopyPaste(Settings):
    """How often something is pasted, and which classes are.

    Attributes:
      share: of the unlabelled images onto which the rare classes of a labelled one are pasted.
      rarer_than: a class is rare where its share of the labelled pixels of a batch is smaller.
    """

    GROUP = "paste"
    share: Probability = 0.0
    rarer_than: Probability = 0.1

    def choose(
        self, rng: jax.Array, labels: Int[Array, "B H W"], num_classes: int
    ) -> Bool[Array, "B H W"]:
        """Returns the pixels of labelled images that are pasted, each at its own place.

        Args:
          rng: chooses the images.
          labels: class of each pixel; one that is not from 0 to `num_classes - 1` is not pasted.
          num_classes: how many classes there are.
        """
        of_class = one_hot(labels, num_classes)
        count = jnp.sum(of_class, axis=(0, 1, 2))
        is_rare = count < self.rarer_than * jnp.sum(count)
        takes_part = jax.random.bernoulli(rng, self.share, (len(labels), 1, 1))
        return takes_part & (of_class @ is_rare.astype(of_class.dtype) > 0)
