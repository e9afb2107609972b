"""What a file of another project's weights does not tell of itself."""

import dataclasses
import os
from typing import Any

from sassn_jax.errors import InputError
from sassn_jax.weights import fused, npz


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a network was built, and what it is fed.

    Attributes:
      layout: of the trunk, see `ResNet`; of no account for a VGG.
      channel_order: of the images.
      mean: subtracted from each channel, in that order, in units of 0-255.
      std: each channel is divided by, likewise.
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
# The one trunk whose weights are known to come from Caffe.
CAFFE_TRUNK = "resnet50_thin"


def about_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Says of a `.npz` file that a run starts from what one of `import_weights` says of itself.

    Only of Caffe's trunk with its norms fused is it known how it was built and what it is fed:
    torchvision's arrays have the same names whatever they were trained on.

    Raises:
      InputError: if the file cannot be read, or the norms in it are not fused.
    """
    if not fused.is_fused(npz.names(path)):
        raise InputError(
            f"model.weights={os.fspath(path)!r}: its batch norm is not fused into its convolutions "
            "(it has no conv1.bias), so that it does not tell which images it takes; "
            "experiments.import_weights makes a file of it that does"
        )
    image = dataclasses.asdict(CONVENTIONS["caffe"])
    return {
        "network": "generator",
        "model": {"backbone": CAFFE_TRUNK, "layout": image.pop("layout")},
        "image": {**image, "std": fused.IMAGE_STD},
    }
