"""A trunk that starts from a file instead of from random numbers."""

import dataclasses
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from sassn_jax.weights import npz
from sassn_jax.weights.fused import whiten
from sassn_jax.weights.resnet import load_backbone


@dataclasses.dataclass(frozen=True)
class PretrainedBackbone:
    """Weights for the trunk of a segmentation network.

    Attributes:
      path: of a `.npz` file, see `load_backbone`.
      image_std: what the pipeline divides each channel by and the file's network does not.
    """

    path: str
    image_std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def load(
        self, backbone: nn.Module, variables: dict[str, Any], images: Float[Array, "B H W 3"]
    ) -> dict[str, Any]:
        """Returns a segmentation network's variables with the file's trunk in them.

        Args:
          backbone: the trunk.
          variables: of the whole network; the trunk is `backbone` in each collection.
          images: a normalized batch, by which a network whose norms are fused is made trainable.

        Raises:
          InputError: if the file does not hold exactly this trunk.
        """
        params, batch_stats = variables["params"], variables["batch_stats"]
        trunk = load_backbone(
            self.path, params["backbone"], batch_stats["backbone"], image_std=self.image_std
        )
        if "conv1.bias" in npz.read(self.path):
            trunk = whiten(backbone, *trunk, images)
        return {
            **variables,
            "params": {**params, "backbone": trunk[0]},
            "batch_stats": {**batch_stats, "backbone": trunk[1]},
        }
