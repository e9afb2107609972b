"""A trained network as a StableHLO program, which runs wherever JAX does, without `sassn_jax`.

The program takes photos as they are and gives classes: normalization, padding, resizing and softmax
are inside of it, and so are the network's parameters.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float, UInt8

from sassn_jax.data import DatasetInfo, describe_classes
from sassn_jax.data.transforms import Normalize
from sassn_jax.fields import SizeOrNothing
from sassn_jax.files import replacing, write_json
from sassn_jax.resampling import Size

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")

Program = Callable[[UInt8[Array | np.ndarray, "B H W 3"]], tuple[jax.Array, jax.Array]]


def make_program(
    predict: Callable[[Float[Array, "B H W 3"]], Float[Array, "B H W C"]],
    normalize: Normalize,
    pad_to: SizeOrNothing,
) -> Program:
    """Returns a function from photos to classes that `jax.export` can take.

    Args:
      predict: class probabilities of normalized images.
      normalize: how the network wants its images.
      pad_to: height and width to which smaller images are padded with the mean colour, as
        `Inference.pad_to`.

    Returns:
      A function of uint8 RGB `[B, H, W, 3]`. It returns the most likely class of each pixel, uint8
      `[B, H, W]`, and the probabilities of all classes, float32 `[B, H, W, C]`.
    """

    def run(images: UInt8[Array | np.ndarray, "B H W 3"]) -> tuple[jax.Array, jax.Array]:
        _, height, width, _ = images.shape
        ordered = images[..., ::-1] if normalize.channel_order == "bgr" else images
        centred = ordered.astype(jnp.float32) - np.asarray(normalize.mean, np.float32)
        shown = centred / np.asarray(normalize.std, np.float32)
        missing = [
            (0, jax.core.max_dim(size, least) - size)
            for size, least in zip((height, width), pad_to or (height, width), strict=True)
        ]
        shown = jnp.pad(shown, ((0, 0), *missing, (0, 0)))
        probabilities = predict(shown)[:, :height, :width].astype(jnp.float32)
        return jnp.argmax(probabilities, axis=-1).astype(jnp.uint8), probabilities

    return run


def write(
    path: Path, program: Program, info: DatasetInfo, size: Size | None, check: Callable[[Path], Any]
) -> dict[str, Any]:
    """Writes a program for CPUs, CUDA and TPUs, and beside it `NAME.json`, which describes it.

    Args:
      path: the file.
      program: of `make_program`.
      info: the classes.
      size: height and width of all images. None leaves them open, as the number of images is.
      check: called with the written file before it gets its name; it raises if the file is wrong.

    Returns:
      The description: `input`, `outputs`, `size`, `platforms`, and `names`, `palette` and
      `ignore_label` of the classes.

    Raises:
      OSError: naming the file, where it cannot be written.
    """
    sides = f"{size[0]}, {size[1]}" if size else "height, width"
    shape = export.symbolic_shape(f"batch, {sides}, 3")
    argument = jax.ShapeDtypeStruct(shape, jnp.uint8)
    with _without_source_lines():
        exported = export.export(jax.jit(program), platforms=PLATFORMS)(argument)
    about = {
        "input": f"uint8 RGB, [batch, {sides}, 3]",
        "outputs": [
            f"uint8 class ids, [batch, {sides}]",
            f"float32 probabilities, [batch, {sides}, {info.num_classes}]",
        ],
        "size": list(size) if size else None,
        "platforms": list(PLATFORMS),
        **describe_classes(info),
    }
    with replacing(path) as beside:
        beside.write_bytes(exported.serialize())
        check(beside)
    write_json(path.with_suffix(".json"), about)
    return about


def read(path: Path) -> Program:
    """Returns the program in a file that `write` wrote; it is compiled for each new size."""
    return export.deserialize(bytearray(path.read_bytes())).call


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Keeps the names of source files on this machine out of a program."""
    limit = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, limit)
    jax.config.update(limit, 0)
    try:
        yield
    finally:
        jax.config.update(limit, before)
