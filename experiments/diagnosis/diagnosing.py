"""Trains the runs of a diagnosis and says what they show."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments.diagnosis import runs, shares
from experiments.diagnosis.players import discriminator_losses, gradient_norms
from experiments.diagnosis.teaching import chooses_pixels
from experiments.diagnosis.verdicts import verdicts
from sassn_jax import methods
from sassn_jax.files import write_json
from sassn_jax.prediction.run import load_run
from sassn_jax.recipes import parse
from sassn_jax.training.setup import set_up
from sassn_jax.training.workdir import Workdir


def diagnose(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains the runs that are not finished, and writes and returns `diagnosis.json`.

    Args:
      config: of the method, with `labels` below 1.
      workdir: the folder in which each run has its own.

    Raises:
      InputError: if the method has no mask of pixels, or no image counts as unlabelled.
    """
    scores = runs.train_all(config, workdir)
    folder = runs.folder_of(workdir, runs.METHOD)
    run = load_run(folder)
    assert run.state is not None
    batch = jax.tree.map(jnp.asarray, set_up(run.config).batches[run.config.num_steps])
    batch = run.method.generator.augment(run.state, batch)
    classes = run.info.class_names
    result: dict[str, Any] = {
        "method": config.method,
        "threshold_chooses_pixels": chooses_pixels(methods.create(parse(config), len(classes))),
        "scores": scores,
        "gap_closed": runs.gaps_closed(scores),
        "over_time": shares.read(Workdir(folder).read_rows(), classes),
        "average_and_raw": runs.average_and_raw(run),
        "gradient_norms": gradient_norms(parse(config), len(classes), run.state, batch),
    }
    if run.state.discriminator is not None:
        result["discriminator"] = discriminator_losses(run.method, run.state, batch)
    result["verdicts"] = verdicts(result)
    write_json(workdir / "diagnosis.json", result)
    return result
