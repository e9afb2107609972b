"""A trained network as one function of photos, which other programs can run without `sassn_jax`.

The function takes photos as they are and gives classes: normalization, padding, resizing and
softmax are inside of it, and so are the network's parameters. `stablehlo` and `onnx` write it to a
file.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, UInt8

from sassn_jax.data import DatasetInfo, describe_classes
from sassn_jax.data.transforms import Normalize
from sassn_jax.inference import Inference, predict_by_windows
from sassn_jax.resampling import Size

Program = Callable[[UInt8[Array | np.ndarray, "B H W 3"]], tuple[Any, Any]]
INPUT, OUTPUTS = "images", ("ids", "probabilities")  # names, for formats that have names


def make_program(
    predict: Callable[[Float[Array, "B H W 3"]], Float[Array, "B H W C"]],
    normalize: Normalize,
    inference: Inference,
) -> Program:
    """Returns a function from photos to classes that can be traced.

    The number of photos may be open, and without windows so may be their height and width.

    Args:
      predict: class probabilities of normalized images.
      normalize: how the network wants its images.
      inference: how images are shown to the network: padded, and by windows. Its scales and
        mirrored views are left out.

    Returns:
      A function of uint8 RGB `[B, H, W, 3]`. It returns the most likely class of each pixel, uint8
      `[B, H, W]`, and the probabilities of all classes, float32 `[B, H, W, C]`.
    """

    def run(images: UInt8[Array | np.ndarray, "B H W 3"]) -> tuple[jax.Array, jax.Array]:
        _, height, width, _ = images.shape
        ordered = images[..., ::-1] if normalize.channel_order == "bgr" else images
        centred = ordered.astype(jnp.float32) - np.asarray(normalize.mean, np.float32)
        shown = centred / np.asarray(normalize.std, np.float32)
        least = inference.pad_to or (1, 1), inference.window or (1, 1)
        missing = [
            (0, functools.reduce(jax.core.max_dim, sides) - sides[0])
            for sides in zip((height, width), *least, strict=True)
        ]
        shown = jnp.pad(shown, ((0, 0), *missing, (0, 0)))
        if inference.window:
            probabilities = predict_by_windows(predict, shown, inference)
        else:
            probabilities = predict(shown)
        probabilities = probabilities[:, :height, :width].astype(jnp.float32)
        return jnp.argmax(probabilities, axis=-1).astype(jnp.uint8), probabilities

    return run


def argument(size: Size | None) -> jax.ShapeDtypeStruct:
    """Returns the shape of a program's photos.

    The number of photos is left open, and with `size=None` so are their height and width.
    """
    return jax.ShapeDtypeStruct(export.symbolic_shape(f"batch, {_sides(size)}, 3"), jnp.uint8)


def describe(info: DatasetInfo, size: Size | None) -> dict[str, Any]:
    """Returns what somebody who runs the file must know, for the `.json` beside it.

    Args:
      info: the classes.
      size: height and width of all images, None if they are open.

    Returns:
      `input`, `outputs`, `size`, and `names`, `palette` and `ignore_label` of the classes.
    """
    sides = _sides(size)
    return {
        "input": f"uint8 RGB, [batch, {sides}, 3]",
        "outputs": [
            f"uint8 class ids, [batch, {sides}]",
            f"float32 probabilities, [batch, {sides}, {info.num_classes}]",
        ],
        "size": list(size) if size else None,
        **describe_classes(info),
    }


def _sides(size: Size | None) -> str:
    return f"{size[0]}, {size[1]}" if size else "height, width"
