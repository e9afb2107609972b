"""A run's network as one file, with all that is needed to use it."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax

from sassn_jax import data
from sassn_jax.files import expanded
from sassn_jax.training.evaluate_run import load_run
from sassn_jax.weights import store


def export_run(
    workdir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    checkpoint: str = "latest",
) -> dict[str, Any]:
    """Writes what a run predicts with to a `.safetensors` file: G, perhaps with other parts.

    The workdir is enough for it: the dataset need not be there. The file tells nothing of this
    machine: of its config `data_dir` is empty, and a file of ids has its name without a folder.

    `load_run` reads it back, for evaluation and prediction, and `model.weights` takes it, for
    training to start from.

    Args:
      workdir: of the run.
      output: the file.
      checkpoint: `latest`, or `best` by mIoU on the validation split.

    Returns:
      What the file says of itself: see `weights.store.write`, and `config`, `step` and `classes`
      (`names`, `palette` and `ignore_label`).

    Raises:
      InputError: if there is no such run or checkpoint, or the output cannot be such a file.
    """
    store.check_name(output)
    run = load_run(expanded(workdir), checkpoint)
    config = {
        **run.config.to_dict(),
        "data_dir": "",
        "profile": (),
    }  # `load_run` has emptied model.weights
    config["labels"] = _without_folder(config["labels"])
    about = {
        "network": "generator",
        "model": config["model"],
        "image": config["image"],
        "num_classes": run.info.num_classes,
        "fused": False,
        "config": config,
        "step": run.step,
        "classes": data.describe_classes(run.info),
    }
    store.write(output, jax.device_get(run.variables), about)
    return about


def _without_folder(labels: str) -> str:
    """A file of ids without its folder, as a path that is no fraction whatever its name."""
    try:
        Fraction(labels)
    except ValueError:
        return f"./{Path(labels).name}"
    return labels
