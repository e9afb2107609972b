"""A trained run as one file, for training and scoring elsewhere, or for other people's programs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from sassn_jax import methods
from sassn_jax.conversion import stablehlo
from sassn_jax.conversion.exporting import write_export
from sassn_jax.errors import InputError, check_name
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.recipes import override
from sassn_jax.resampling import Size
from sassn_jax.weights import store

FORMATS = ("safetensors", "stablehlo")
# Other programs show the whole image to the network, once.
AT_ONCE = {"eval.window": (), "eval.stride": (), "eval.scales": (1.0,), "eval.mirror": False}
MOST_ERROR = 1e-4  # of a probability
_CHECKED_SIZES = ((65, 97), (120, 80))  # of the images of the check, if the program takes any


def export_run(
    workdir: str | Path,
    output: str | Path,
    checkpoint: str = "latest",
    format: str = "safetensors",
    size: Size | None = None,
) -> dict[str, Any]:
    """Writes what a run predicts with to one file; the dataset is not needed.

    - `safetensors`: the network's arrays and its config. `load_run` reads the file, and training
      starts from it as `model.weights`.
    - `stablehlo`: a program for JAX alone, see `conversion.stablehlo`, and a `.json` beside it. It
      shows the whole image to the network, padded as `eval.pad_to` says; windows, other scales and
      mirroring are left out. It is compared with the run before it gets its name.

    Args:
      workdir: of the run, or an exported `.safetensors` file.
      output: the file; its ending is the format's name.
      checkpoint: `latest`, or `best` by mIoU on the validation split.
      format: a name in `FORMATS`.
      size: of `stablehlo`, height and width of all images; None for images of any size.

    Returns:
      The file's description; of `stablehlo` also `largest_error` of a probability, and how many
      `pixels` had `differing` classes.

    Raises:
      InputError: if there is no such run or checkpoint, or `output` cannot be such a file; if the
        program's probabilities differ by more than 1e-4 from those of the run.
    """
    check_name("format", format, FORMATS)
    path = store.check_name(output, f".{format}")
    if format == "safetensors":
        if size is not None:
            raise InputError(f"{size=}: a .safetensors file has no size; leave it out")
        run = load_run(workdir, checkpoint)
        return write_export(
            path,
            jax.device_get(run.variables),
            config=run.config.to_dict(),
            info=run.info,
            step=run.step,
        )
    run = load_run(workdir, checkpoint, AT_ONCE)
    # Both can be exported for every platform; the plain formula also takes images of any size.
    attention = {"model.attention_implementation": "blockwise" if size else "reference"}
    classes = run.info.num_classes, run.info.ignore_label
    method = methods.create(override(run.config, attention), *classes)
    program = stablehlo.make_program(
        lambda images: method.predict(run.variables, images),
        run.config.image,
        run.config.eval.pad_to,
    )
    found: dict[str, Any] = {}

    def compare(written: Path) -> None:
        found.update(_compare(stablehlo.read(written), run, [size] if size else _CHECKED_SIZES))
        if not found["largest_error"] <= MOST_ERROR:  # also for NaN
            raise InputError(
                f"{path}: not written: its probabilities differ by {found['largest_error']:.1e} "
                f"from the run's, expected at most {MOST_ERROR:.0e}"
            )

    return stablehlo.write(path, program, run.info, size, compare) | {"step": run.step} | found


def _compare(program: stablehlo.Program, run: Run, sizes: Any) -> dict[str, Any]:
    """Compares a program with its run on images of coloured squares."""
    rng = np.random.default_rng(0)
    largest, differing, pixels = 0.0, 0, 0
    for height, width in sizes:
        coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
        image = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
        ids, probabilities = (np.asarray(x)[0] for x in program(image[None]))
        expected = run.predict(image)
        errors = np.abs(probabilities - expected.probabilities)
        largest = max(largest, float(errors.max())) if np.isfinite(errors).all() else np.nan
        differing += int(np.sum(ids != expected.ids))
        pixels += ids.size
    return {"largest_error": largest, "differing": differing, "pixels": pixels}
