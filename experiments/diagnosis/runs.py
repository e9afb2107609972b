"""The runs that a diagnosis compares."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.diagnosis import teaching, watched
from sassn_jax.errors import InputError
from sassn_jax.files import read_json
from sassn_jax.prediction.run import Run, load_run
from sassn_jax.recipes import parse
from sassn_jax.training.loop import is_finished, train_and_evaluate
from sassn_jax.training.setup import set_up
from sassn_jax.training.workdir import Workdir

LABELS_ALONE = "labels alone"
METHOD = "method"
RIGHT_PIXELS = "right pixels"
GOOD_TEACHER = "good teacher"
ALL_LABELS = "all labels"
TITLES = {
    LABELS_ALONE: "the same network, the labelled images alone",
    METHOD: "the method",
    RIGHT_PIXELS: "the method, taught only by those of its predictions that are right",
    GOOD_TEACHER: "the method, taught by the predictions of the network of `all labels`",
    ALL_LABELS: "the same network, all labels",
}


def configs(config: ConfigDict) -> dict[str, ConfigDict]:
    """Returns the configs of the runs, by name, for that of a method.

    Raises:
      InputError: for a method without a mask of pixels, if no training image with a mask counts as
        unlabelled, or as `set_up` does.
    """
    method = config.method
    if method not in teaching.NAMES:
        raise InputError(
            f"method={method!r}: has no mask of pixels; expected one of {', '.join(teaching.NAMES)}"
        )
    setup = set_up(parse(config))
    if len(setup.split.labeled) == len(setup.dataset.splits["train"].ids):
        raise InputError(
            f"labels={config.labels!r}: takes all masks of the training images, so that none is "
            "left to compare with; expected a part of them, such as labels=1/8"
        )
    changes = {
        LABELS_ALONE: {"method": "supervised"},
        METHOD: {"method": watched.Watched.PREFIX + method},
        RIGHT_PIXELS: {"method": watched.RightPixels.PREFIX + method},
        GOOD_TEACHER: {"method": watched.GoodTeacher.PREFIX + method},
        ALL_LABELS: {"method": "supervised", "labels": "1"},
    }
    return {name: _changed(config, values) for name, values in changes.items()}


def train_all(config: ConfigDict, workdir: Path) -> dict[str, dict[str, Any]]:
    """Trains the runs that are not finished.

    Args:
      config: of the method.
      workdir: holds a folder for each run.

    Returns:
      By name of the run its scores on the validation split, as `eval_val.json` has them.

    Raises:
      InputError: as `configs` and `train_and_evaluate` do.
    """
    named = configs(config)
    for kind in (watched.Watched, watched.RightPixels):
        watched.register(kind)
    for name in (LABELS_ALONE, METHOD, RIGHT_PIXELS, ALL_LABELS):
        _train(named[name], folder_of(workdir, name))
    teacher = load_run(folder_of(workdir, ALL_LABELS)).variables
    watched.register(watched.taught_by(teacher))
    _train(named[GOOD_TEACHER], folder_of(workdir, GOOD_TEACHER))
    return {name: read_json(Workdir(folder_of(workdir, name)).scores("val")) for name in TITLES}


def folder_of(workdir: Path, name: str) -> Path:
    """Returns the folder of a run, by its name."""
    return workdir / name.replace(" ", "_")


def gaps_closed(scores: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Returns how much of the gap in mIoU between `labels alone` and `all labels` a run closes.

    It is a share, by name of the run, and empty if all labels are no better.
    """
    low, high = scores[LABELS_ALONE]["miou"], scores[ALL_LABELS]["miou"]
    if high <= low:
        return {}
    return {name: (run["miou"] - low) / (high - low) for name, run in scores.items()}


def average_and_raw(run: Run) -> dict[str, float]:
    """Returns mIoU on the validation split of a teacher that is an average, and of its student.

    It is empty for a method without such a teacher.
    """
    assert run.state is not None
    if run.state.teacher is None:
        return {}
    both = {"average": run.state.teacher, "raw": run.state.generator.variables}
    val = run.dataset.splits["val"]
    return {
        name: dataclasses.replace(run, variables=variables)
        .score(val, on_batch=lambda batch, probabilities: None)
        .miou()
        for name, variables in both.items()
    }


def _train(config: ConfigDict, workdir: Path) -> None:
    if not is_finished(config, workdir):
        train_and_evaluate(config, workdir)


def _changed(config: ConfigDict, values: dict[str, str]) -> ConfigDict:
    changed = copy.deepcopy(config)
    changed.update(values)
    return changed
