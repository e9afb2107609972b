"""What a file of another project's weights does not say about its network."""

import dataclasses
import os
from typing import Any

from sassn_jax.errors import InputError
from sassn_jax.weights import fused, npz, store


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a network was built, and which images it takes.

    Attributes:
      layout: of a ResNet trunk, see `ResNet`; a VGG has none, and ignores it.
      channel_order: of the images.
      mean: subtracted from the channels, in that order, in units of 0-255.
      std: divides the channels, likewise.
    """

    layout: str
    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


CONVENTIONS = {
    "advsemiseg": Convention("caffe", "rgb", (122.67891434, 116.66876762, 104.00698793)),
    "caffe": Convention("caffe", "bgr", (104.0, 117.0, 123.0)),
    "torchvision": Convention(
        "torchvision", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    ),
}
CAFFE_TRUNK = "resnet50_thin"  # the one trunk whose weights are known to come from Caffe


def weights_suffixes(backbone: str) -> tuple[str, ...]:
    """Returns the endings of the files that a network on this backbone can start from."""
    return (store.SUFFIX, npz.SUFFIX) if backbone == CAFFE_TRUNK else (store.SUFFIX,)


def about_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describes a `.npz` file of Caffe's trunk as `weights.store.read_about` does an imported one.

    Such a file is recognized by its fused batch norm. Of other `.npz` files nothing is known:
    torchvision's arrays have the same names whatever images they were trained on.

    Raises:
      InputError: if the file cannot be read, or its batch norm is not fused.
    """
    if not fused.is_fused(npz.names(path)):
        raise InputError(
            f"model.weights={os.fspath(path)!r}: has no conv1.bias, so its batch norm is not fused "
            "and the images that it takes are unknown; convert it with `sassn import_weights`"
        )
    image = dataclasses.asdict(CONVENTIONS["caffe"])
    return {
        "model": {"backbone": CAFFE_TRUNK, "layout": image.pop("layout")},
        "image": {**image, "std": fused.IMAGE_STD},
    }
