"""Runs cells one after the other, each by one process of all that work in a folder."""

import datetime
import gc
import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.reproduction import results
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.claims import Claim, Claims
from sassn_jax.files import write_json
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.config import check_workdir, resolve
from sassn_jax.training.evaluate_run import evaluate_run
from sassn_jax.training.loop import train_and_evaluate

CLAIMS = "claims"
LOOK_EVERY = 10.0  # seconds between looks at what other processes run
SCORED_ON = {"voc": "val", "cityscapes": "val"}  # as in the paper; test elsewhere
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")

Say = Callable[[str], None]


def run_cells(workdir: Path, cells: Sequence[Cell], recipe: Recipe, say: Say) -> int:
    """Runs what is not finished, and waits for what other processes run.

    A cell that fails is recorded, and tried again by the next call. One whose process dies is taken
    over, and goes on from its checkpoint.

    Args:
      workdir: may be shared by any number of processes on any number of hosts; see `claims`.
      cells: those wanted.
      recipe: what they share.
      say: is told which cell it is.

    Returns:
      How many of the cells have failed.

    Raises:
      InputError: if the folder holds such a cell of another config.
    """
    for cell in cells:
        _check_folder(workdir, cell, recipe)
    claims = Claims(workdir / CLAIMS)
    before = {cell: results.read(results.folder_of(workdir, cell)) for cell in cells}
    began, waiting = time.monotonic(), ""
    remaining = list(cells)
    while remaining:
        left = len(remaining)
        for cell in list(remaining):
            if not _is_settled(workdir, cell, before[cell]):
                claim = claims.acquire(cell.name)
                if claim is None:
                    continue
                number = len(cells) - len(remaining) + 1
                say(f"{cell.name}: {number} of {len(cells)}, {_minutes(began)} so far")
                if not _run_claimed(workdir, cell, recipe, claim, before[cell], say):
                    continue
            remaining.remove(cell)
        if remaining and len(remaining) == left:
            names = ", ".join(cell.name for cell in remaining)
            if names != waiting:
                say(f"waiting for other processes, which run {names}")
            waiting = names
            time.sleep(LOOK_EVERY)
    return sum(
        not results.is_finished(results.read(results.folder_of(workdir, cell))) for cell in cells
    )


def _is_settled(workdir: Path, cell: Cell, before: dict[str, Any] | None) -> bool:
    """Whether a cell is finished, or has failed since this call began, in whatever process."""
    result = results.read(results.folder_of(workdir, cell))
    return results.is_finished(result) or result != before


def _run_claimed(
    workdir: Path,
    cell: Cell,
    recipe: Recipe,
    claim: Claim,
    before: dict[str, Any] | None,
    say: Say,
) -> bool:
    """Runs a cell while it is ours; False if another process took it over meanwhile."""
    try:
        with claim:
            if not _is_settled(workdir, cell, before):  # nobody was quicker
                _check_folder(workdir, cell, recipe)
                result = run_cell(results.folder_of(workdir, cell), cell, recipe)
                say(f"{cell.name}: {_outcome(result)}")
    except KeyboardInterrupt:
        if not claim.lost:
            raise
        say(f"{cell.name}: this process stood still for so long that another took it over")
        return False
    finally:
        gc.collect()  # what the run has left on the device, before the next one needs it
    return True


def _check_folder(workdir: Path, cell: Cell, recipe: Recipe) -> None:
    try:
        config = resolve(recipe.config(cell))
    except ValueError:  # the run will say so, and be the only one that fails
        return
    check_workdir(config, results.folder_of(workdir, cell))


def run_cell(workdir: Path, cell: Cell, recipe: Recipe) -> dict[str, Any]:
    """Trains and scores a cell, and writes what came of it into its folder.

    Returns:
      What was written; with `error` and `error_kind` in place of scores if it failed.
    """
    began = time.perf_counter()
    result: dict[str, Any] = {
        "cell": cell.name,
        "dataset": cell.dataset,
        "method": cell.method,
        "head": cell.head,
        "labels": cell.labels,
        "discriminator_lr": cell.discriminator_lr,
        "seed": cell.seed,
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
    }
    try:
        config = recipe.config(cell)
        result |= _train_and_score(workdir, config, SCORED_ON.get(cell.dataset, "test"))
    except Exception as error:  # whatever it is, the other cells can do without this one
        reason = " ".join(str(error).split()) or "no reason given"
        result |= {"error": reason[:500], "error_kind": type(error).__name__}
    result |= {"health": results.last_health(workdir), "seconds": time.perf_counter() - began}
    result |= _environment()
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / results.FILE, result)
    return result


def _train_and_score(workdir: Path, config: ConfigDict, split: str) -> dict[str, Any]:
    """`resumed_at` is the step that an earlier call had come to: its time is not counted."""
    resumed_at = 0
    if (workdir / "checkpoints").is_dir():
        with Checkpoints(workdir, read_only=True) as checkpoints:
            resumed_at = checkpoints.latest_step or 0
    train_and_evaluate(config, workdir)
    return {"resumed_at": resumed_at, **evaluate_run(workdir, split)}


def _environment() -> dict[str, Any]:
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


def _outcome(result: dict[str, Any]) -> str:
    if not results.is_finished(result):
        return f"failed: {result['error']}"
    miou = result["miou"]
    score = "no mIoU" if miou is None else f"mIoU {100 * miou:.2f} on {result['split']}"
    return f"{score}, {result['seconds'] / 60:.1f} min"


def _minutes(began: float) -> str:
    return f"{(time.monotonic() - began) / 60:.0f} min"
