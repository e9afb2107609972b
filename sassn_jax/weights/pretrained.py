"""A network that starts from a file instead of from random numbers."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from sassn_jax.errors import InputError
from sassn_jax.weights import npz, store
from sassn_jax.weights.fused import IMAGE_STD, is_fused, whiten
from sassn_jax.weights.resnet import load_backbone

Tree = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights for a segmentation network.

    Attributes:
      path: of a `.safetensors` file of `experiments.import_weights` or `experiments.export`, or of
        a `.npz` file with a trunk, see `load_backbone`. One whose batch norm is fused was trained
        on images that nothing divided, and is fed such as are divided by `fused.IMAGE_STD`.
      head: the network's, by name.
      aspp_rates: of the network.
    """

    path: str
    head: str = "deeplabv2"
    aspp_rates: tuple[int, ...] = (6, 12, 18, 24)

    def load(
        self, backbone: nn.Module, variables: dict[str, Any], images: Float[Array, "B H W 3"]
    ) -> dict[str, Any]:
        """Returns a segmentation network's variables with the file's in them.

        Args:
          backbone: the trunk.
          variables: of the whole network; the trunk is `backbone` in each collection.
          images: a normalized batch, by which a network whose norms are fused is made trainable.

        Raises:
          InputError: if the file does not hold exactly this trunk.
        """
        loaded, fused = self._read(variables)
        if fused:
            params, batch_stats = (loaded[name]["backbone"] for name in loaded)
            trunk = whiten(backbone, params, batch_stats, images)
            loaded = {
                name: {**loaded[name], "backbone": tree}
                for name, tree in zip(loaded, trunk, strict=True)
            }
        return {name: {**tree, **loaded.get(name, {})} for name, tree in variables.items()}

    def parts(self, variables: Tree) -> tuple[str, ...]:
        """Names the parts of a network that the file gives: `backbone`, perhaps `head` and more.

        Args:
          variables: as for `load`, or their shapes.
        """
        return tuple(self._read(variables)[0]["params"])

    def _read(self, variables: Tree) -> tuple[dict[str, dict[str, Any]], bool]:
        """Returns `params` and `batch_stats` of the parts, and whether the norms are fused.

        A VGG has no `batch_stats`, nor can it come from a `.npz`.
        """
        names = ("params", "batch_stats")
        loaded: dict[str, dict[str, Any]]
        if Path(self.path).suffix != store.SUFFIX:
            fused = is_fused(npz.names(self.path))
            trunk = load_backbone(
                self.path,
                *(variables[name]["backbone"] for name in names),
                image_std=IMAGE_STD if fused else (1.0, 1.0, 1.0),
            )
            loaded = {name: {"backbone": tree} for name, tree in zip(names, trunk, strict=True)}
            return loaded, fused
        given, about = store.read(self.path)
        loaded = {name: {} for name in names}
        for part in variables["params"]:
            found = {
                name: _take(given.get(name, {}).get(part), variables[name][part])
                for name in names
                if part in variables.get(name, {})
            }
            if part == "head" and not self._is_same_head(about["model"]):
                continue
            if all(tree is not None for tree in found.values()):
                for name, tree in found.items():
                    loaded[name][part] = tree
        if "backbone" not in loaded["params"]:
            raise InputError(
                f"model.weights={self.path!r}: holds no trunk of the shapes of model.backbone"
            )
        return loaded, about["fused"]

    def _is_same_head(self, model: Mapping[str, Any]) -> bool:
        rates = tuple(model.get("aspp_rates", ()))
        return (model.get("head"), rates) == (self.head, self.aspp_rates)


def _take(given: Any, wanted: Any) -> Any:
    """What is wanted out of what is given, None unless all of it is there in its shape."""
    if not isinstance(wanted, Mapping):
        return given if np.shape(given) == np.shape(wanted) else None
    if not isinstance(given, Mapping):
        return None
    taken = {name: _take(given.get(name), leaf) for name, leaf in wanted.items()}
    return None if any(leaf is None for leaf in taken.values()) else taken
