"""The runs that a diagnosis compares, and what is read of them."""

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.diagnosis.watched import (
    ALL_PASS,
    HEED_VALID,
    ORACLE,
    THRESHOLDS,
    WATCHED,
    register,
)
from sassn_jax.errors import InputError
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.workdir import Workdir

LABELS_ALONE, METHOD, RIGHT_PIXELS, ALL_LABELS = (
    "labels alone",
    "method",
    "right pixels",
    "all labels",
)
TITLES = {
    LABELS_ALONE: "the same network, the labelled images alone",
    METHOD: "the method",
    RIGHT_PIXELS: "the method, taught by right pixels alone",
    ALL_LABELS: "the same network, all labels",
}


def configs(config: ConfigDict) -> dict[str, ConfigDict]:
    """Returns the configs of the runs, by name, for that of a method.

    Raises:
      InputError: for a method without a mask of pixels, or if no image is unlabelled.
    """
    if config.method not in THRESHOLDS:
        raise InputError(f"method={config.method!r}: expected one of {', '.join(THRESHOLDS)}")
    if config.labels == "1":
        raise InputError("labels='1': expected a part, so that there are unlabelled images")
    register()
    method = config.method
    changes: dict[str, dict[str, Any]] = {
        LABELS_ALONE: {"method": "supervised"},
        METHOD: {"method": WATCHED + method},
        RIGHT_PIXELS: {"method": ORACLE + method, **ALL_PASS, **HEED_VALID},
        ALL_LABELS: {"method": "supervised", "labels": "1"},
    }
    return {name: _changed(config, values) for name, values in changes.items()}


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains a run, or goes on with it, and returns its scores on the validation split."""
    train_and_evaluate(config, workdir)
    return json.loads(Workdir(workdir).scores("val").read_text(encoding="utf-8"))


def lessons(workdir: Path, class_names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields a line for each class: what passed the mask when the method began, and at the end.

    Each value is a mean over the steps between two lines of `metrics.jsonl`; None if unknown.
    """
    lines = Workdir(workdir).metrics.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "teaches/pixels_0" in row]
    for i, name in enumerate(class_names):
        line: dict[str, Any] = {"class": name}
        for metric in ("teaches/pixels", "teaches/right", "finds/recall", "finds/iou"):
            line[metric] = [row.get(f"{metric}_{i}") for row in (rows[0], rows[-1])] if rows else []
        yield line


def _changed(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
    changed = copy.deepcopy(config)
    changed.update_from_flattened_dict(values)
    return changed
