"""What position attention looks at: the weights of one pixel, as a map over the image."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer


def attention_maps(
    network: nn.Module,
    variables: Any,
    images: Float[Array, "1 H W 3"],
    pixel: Int[Array, " 2"],
) -> dict[str, Float[Array, "h w"]]:
    """Returns the weights with which a pixel attends to all positions of a feature map.

    Only this pixel's row of the N x N weights is computed.

    Args:
      network: a segmentation network, taken in evaluation.
      variables: of the network.
      images: one normalized image.
      pixel: row and column in the image.

    Returns:
      A map that sums to 1 for each attention of the network, by name, such as `attention3`.
    """
    _, kept = network.apply(
        variables,
        images,
        train=False,
        capture_intermediates=lambda module, _: module.name in ("query", "key"),
        mutable=["intermediates"],
    )
    captured: Mapping[str, Any] = kept.get("intermediates", {})
    maps = {}
    for name, layer in captured.items():
        if not name.startswith("attention"):
            continue
        query, key = (layer[x]["__call__"][0][0].astype(jnp.float32) for x in ("query", "key"))
        row, column = pixel * jnp.array(query.shape[:2]) // jnp.array(images.shape[1:3])
        scores = jnp.einsum("d,hwd->hw", query[row, column], key)
        maps[name] = jax.nn.softmax(scores, axis=(0, 1))
    return maps


def telling_pixel(label: Integer[np.ndarray, "H W"], ignore_label: int) -> tuple[int, int]:
    """Chooses the pixel whose attention is shown: one of the rarest class in the label.

    Returns:
      Row and column of the middle one of this class's pixels, in reading order; of the centre
      where no pixel has a class.
    """
    classes, counts = np.unique(label[label != ignore_label], return_counts=True)
    if not classes.size:
        return label.shape[0] // 2, label.shape[1] // 2
    places = np.argwhere(label == classes[counts.argmin()])
    row, column = places[len(places) // 2]
    return int(row), int(column)
