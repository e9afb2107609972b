"""A network that starts from a file instead of from random numbers."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from sassn_jax.errors import InputError
from sassn_jax.weights import store
from sassn_jax.weights.fused import whiten
from sassn_jax.weights.resnet import load_backbone

COLLECTIONS = ("params", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A file of weights for a segmentation network.

    Attributes:
      path: a `.safetensors` file that `import_weights` or `export_run` wrote, or a `.npz` file of a
        trunk, see `load_backbone`. A network whose batch norm is fused takes images that are
        divided by `fused.IMAGE_STD`.
      head: the name of the network's head. The file's head is used only if it has the same name and
        dilations.
      aspp_rates: the dilations of the network's head.
    """

    path: str
    head: str = "deeplabv2"
    aspp_rates: tuple[int, ...] = (6, 12, 18, 24)

    def load(
        self, backbone: nn.Module, variables: dict[str, Any], images: Float[Array, "B H W 3"]
    ) -> dict[str, Any]:
        """Returns a segmentation network's variables, with the file's in place of some.

        Args:
          backbone: the trunk.
          variables: of the whole network; the trunk is `backbone` in each collection.
          images: a normalized batch, by which a network with fused batch norm is made trainable.

        Raises:
          InputError: if the file does not hold this trunk.
        """
        loaded, fused = self._read(variables)
        if fused:
            trunk = {name: loaded[name]["backbone"] for name in COLLECTIONS}
            for name, tree in whiten(backbone, trunk, images).items():
                loaded[name]["backbone"] = tree
        return {name: {**tree, **loaded.get(name, {})} for name, tree in variables.items()}

    def parts(self, variables: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns the names of the parts that the file gives: `backbone`, perhaps `head` and more.

        Args:
          variables: as for `load`, or their shapes.
        """
        return tuple(self._read(variables)[0]["params"])

    def _read(self, variables: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], bool]:
        """Returns the variables of the parts, and whether batch norm is fused."""
        if Path(self.path).suffix != store.SUFFIX:
            shapes = {name: variables[name]["backbone"] for name in COLLECTIONS}
            trunk, fused = load_backbone(self.path, shapes)
            return {name: {"backbone": tree} for name, tree in trunk.items()}, fused
        given, about = store.read(self.path)
        arrays = traverse_util.flatten_dict(given)
        found, expected = (
            {path: np.shape(x) for path, x in traverse_util.flatten_dict(tree).items()}
            for tree in (given, variables)
        )
        loaded = {}
        for part in variables["params"]:
            paths = [path for path in expected if path[0] in COLLECTIONS and path[1] == part]
            if part == "head" and not self._is_same_head(about["model"]):
                continue
            if all(found.get(path) == expected[path] for path in paths):
                loaded.update({path: arrays[path] for path in paths})
        if ("params", "backbone") not in {path[:2] for path in loaded}:
            raise InputError(
                f"model.weights={self.path!r}: holds no trunk of the shapes of model.backbone"
            )
        return traverse_util.unflatten_dict(loaded), about["fused"]

    def _is_same_head(self, model: Mapping[str, Any]) -> bool:
        rates = tuple(model.get("aspp_rates", ()))
        return (model.get("head"), rates) == (self.head, self.aspp_rates)
