"""A trained run as one file, for training and scoring elsewhere, or for other people's programs."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from sassn_jax import methods
from sassn_jax.conversion import onnx, stablehlo
from sassn_jax.conversion.exporting import write_export
from sassn_jax.conversion.program import Program, describe, make_program
from sassn_jax.errors import InputError, check_name
from sassn_jax.files import replacing, write_json
from sassn_jax.models.networks import is_vgg
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.recipes import override
from sassn_jax.resampling import Size
from sassn_jax.weights import store

FORMATS = ("safetensors", "stablehlo", "onnx")
# What programs leave out of the way in which a run shows images to its network.
ONE_VIEW = {"eval.scales": (1.0,), "eval.mirror": False}
WHOLE = {"eval.window": (), "eval.stride": ()}  # an open size has no fixed number of windows
MOST_ERROR = 1e-4  # of a probability
# Of a logit, as a share of the largest: float32 in another order of operations differs by 4e-6 in a
# ResNet-101.
_ROUNDING = 1e-5
_CHECKED_SIZES = ((65, 97), (120, 80))  # of the images of the check, if the program takes any


def export_run(
    workdir: str | Path,
    output: str | Path,
    checkpoint: str = "latest",
    format: str = "safetensors",
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Writes what a run predicts with to one file; the dataset is not needed.

    - `safetensors`: the network's arrays and its config. `sassn_jax.load` reads the file, and
      training starts from it as `model.weights`.
    - `stablehlo`: a program for JAX alone, see `conversion.stablehlo`.
    - `onnx`: a program for ONNX Runtime and others, see `conversion.onnx`.

    A program for images of one size shows them to the network as `config.eval` says, by windows
    too, but for other scales and mirroring. A program for images of any size shows each as a whole,
    padded as `eval.pad_to` says. A program is compared with the run, so shown, before it gets its
    name. A `.json` file beside it describes it.

    Args:
      workdir: of the run, or an exported `.safetensors` file.
      output: the file; its ending is the format's name.
      checkpoint: `latest`, or `best` by mIoU on the validation split.
      format: a name in `FORMATS`.
      size: of a program, height and width of all images. None leaves them open for `stablehlo`,
        unless the network is on a VGG; `onnx` needs them.

    Returns:
      The file's description; of a program also `largest_error` of a probability, how many `pixels`
      had `differing` classes, and `left_out`: the fields of `config.eval` that it does not follow,
      with their values.

    Raises:
      InputError: if there is no such run or checkpoint, or `output` cannot be such a file; if a
        program's probabilities differ from those of the run by more than 1e-4, and by more than
        rounding to float32 explains where the network's logits are large.
    """
    check_name("format", format, FORMATS)
    path = store.check_name(output, f".{format}")
    if format == "safetensors" and size is not None:
        raise InputError(f"{size=}: a .safetensors file has no size; leave it out")
    run = load_run(workdir, checkpoint)
    if format == "safetensors":
        return write_export(
            path,
            jax.device_get(run.variables),
            config=run.config.to_dict(),
            info=run.info,
            step=run.step,
        )
    on_vgg = is_vgg(run.config.model.backbone)
    if size is None and (format == "onnx" or on_vgg):
        network = " of a network on a VGG" if on_vgg else ""
        raise InputError(
            f"{format=}{network} needs size: height and width of all images, such as 480,640"
        )
    return _write_program(run, path, format, size)


def _write_program(run: Run, path: Path, format: str, size: Size | None) -> dict[str, Any]:
    """Writes a run as a program, and compares the two; see `export_run`."""
    scored = run.config.eval
    run = dataclasses.replace(
        run, config=override(run.config, ONE_VIEW if size else ONE_VIEW | WHOLE)
    )
    left_out = {
        f"eval.{name}": getattr(scored, name)
        for name in ("window", "scales", "mirror")
        if getattr(scored, name) != getattr(run.config.eval, name)
    }
    if format == "onnx":
        assert size is not None
        content = onnx.serialize(_program_of(run, "reference"), size)
        read, about = onnx.read, describe(run.info, size)
    else:
        # Both can be exported for every platform; the plain formula also takes images of any size.
        attention = "blockwise" if size else "reference"
        content = stablehlo.serialize(_program_of(run, attention), size)
        read = stablehlo.read
        about = describe(run.info, size) | {"platforms": list(stablehlo.PLATFORMS)}
    with replacing(path) as beside:
        beside.write_bytes(content)
        images = _images([size] if size else _CHECKED_SIZES)
        found = _compare(read(beside), run, images)
        allowed = MOST_ERROR
        if found["largest_error"] > allowed:  # which is rounding where logits are large
            allowed = max(allowed, _ROUNDING * _largest_logit(run, images) / 2)
        if not found["largest_error"] <= allowed:  # also for NaN
            raise InputError(
                f"{path}: not written: its probabilities differ by {found['largest_error']:.1e} "
                f"from the run's, expected at most {allowed:.0e}"
            )
    write_json(path.with_suffix(".json"), about)
    return about | {"step": run.step, "left_out": left_out} | found


def _program_of(run: Run, attention: str) -> Program:
    """Returns what a run predicts with, with one implementation of attention."""
    config = override(run.config, {"model.attention_implementation": attention})
    method = methods.create(config, run.info.num_classes, run.info.ignore_label)
    return make_program(
        lambda images: method.predict(run.variables, images), config.image, config.eval
    )


def _images(sizes: Iterable[Size]) -> list[UInt8[np.ndarray, "B H W 3"]]:
    """Returns two images of coloured squares of each size."""
    rng = np.random.default_rng(0)
    images = []
    for height, width in sizes:
        coarse = rng.integers(0, 256, (2, -(-height // 16), -(-width // 16), 3), dtype=np.uint8)
        images.append(coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width])
    return images


def _compare(program: Program, run: Run, batches: list[np.ndarray]) -> dict[str, Any]:
    """Compares what a program and its run give for some images."""
    largest, differing, pixels = 0.0, 0, 0
    for images in batches:
        ids, probabilities = map(np.asarray, program(images))
        expected = run.predict(list(images))
        errors = np.abs(probabilities - np.stack([x.probabilities for x in expected]))
        largest = max(largest, float(errors.max())) if np.isfinite(errors).all() else np.nan
        differing += int(np.sum(ids != np.stack([x.ids for x in expected])))
        pixels += ids.size
    return {"largest_error": largest, "differing": differing, "pixels": pixels}


def _largest_logit(run: Run, batches: list[np.ndarray]) -> float:
    shown = np.stack([run.config.image(image) for image in batches[0]])
    logits = jax.jit(run.method.generator.logits)(run.variables, shown)
    return float(np.abs(np.asarray(logits)).max())
