"""Runs one cell: trains it, scores it, and returns its result."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from experiments.reproduction import results
from experiments.reproduction.cells import Cell, Recipe, scored_split
from sassn_jax.config import Config
from sassn_jax.errors import OccupiedError, UnfitError
from sassn_jax.files import write_json
from sassn_jax.prediction.scoring import evaluate_run
from sassn_jax.recipes import parse
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.loop import train_and_evaluate
from sassn_jax.training.workdir import Workdir

BEGUN = "begun.json"  # exists while a process runs a cell, and after it was killed
DEATHS = 3  # processes killed in a row at the same step, after which the cell has failed
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def run_cell(workdir: Path, cell: Cell, recipe: Recipe) -> dict[str, Any]:
    """Trains and scores a cell.

    Returns:
      The result to record; `error` and `error_kind` take the place of scores if the cell failed.
      `resumed_at` is the step that an earlier call had reached, whose time is not in `seconds`.

    Raises:
      OccupiedError: if another process works in the folder.
    """
    began = time.perf_counter()
    result: dict[str, Any] = {
        "cell": cell.name,
        **dataclasses.asdict(cell),
        "changes": recipe.changes,
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
    }
    try:
        config = parse(recipe.config(cell))
        result |= {
            "resumed_at": _latest_step(Workdir(workdir)),
            "weights": recipe.weights_of(cell),
            "eval": dataclasses.asdict(config.eval),
        }
        with _counting_deaths(workdir, result["resumed_at"], result["began"]):
            result |= _train_and_score(workdir, config, scored_split(cell.dataset))
        result |= {"health": results.last_health(workdir), **_environment()}
    except OccupiedError:
        raise
    except Exception as error:  # of any kind: the other cells do not need this one
        result |= failure(error)
    return result | {"seconds": time.perf_counter() - began}


def failure(error: Exception) -> dict[str, str]:
    """Returns what the result of a failed cell says of the error."""
    reason = " ".join(str(error).split()) or "no reason given"
    return {"error": reason[:500], "error_kind": type(error).__name__}


def _latest_step(workdir: Workdir) -> int:
    """Returns the step that an earlier call has reached."""
    if not workdir.checkpoints.is_dir():
        return 0
    with Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.latest_step or 0


@contextlib.contextmanager
def _counting_deaths(workdir: Path, step: int, began: str) -> Iterator[None]:
    """Keeps a file while a cell is run; the file stays if the process is killed.

    Raises:
      UnfitError: if several processes in a row were killed before they came beyond `step`.
    """
    before = results.read(workdir, BEGUN)
    deaths = 0 if before is None else 1 + before["deaths"] * (before["step"] == step)
    if deaths >= DEATHS:
        raise UnfitError(
            f"{deaths} processes in a row were killed at step {step}; is memory short? Remove "
            f"{workdir / BEGUN} to try again"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    own = {"step": step, "deaths": deaths, "began": began}
    write_json(workdir / BEGUN, own)
    try:
        yield
    except OccupiedError:  # the process at work there may yet be killed
        own = {}
        raise
    finally:
        with contextlib.suppress(OSError):
            if results.read(workdir, BEGUN) == own:  # no process that took the cell over has it
                (workdir / BEGUN).unlink()


def _train_and_score(workdir: Path, config: Config, split: str) -> dict[str, Any]:
    train_and_evaluate(config, workdir)
    scoring = {  # may have changed since the call in which training began
        "data_dir": config.data_dir,
        "eval_batch_size": config.eval_batch_size,
        **{f"eval.{name}": value for name, value in dataclasses.asdict(config.eval).items()},
    }
    scores = evaluate_run(workdir, split, overrides=scoring)
    scores.pop("overrides")  # `eval` has them
    validated = results.read(workdir, Workdir(workdir).scores("val").name) or {}
    return {"val_miou": validated.get("miou"), **scores}


def _environment() -> dict[str, Any]:
    devices = jax.devices()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "device": _processor() if devices[0].platform == "cpu" else devices[0].device_kind,
        "devices": len(devices),
        "versions": {"python": platform.python_version(), **versions},
    }


def _processor() -> str:
    """Returns the model of the CPU, and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # off Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        model = next(names, model)
    usable = getattr(os, "sched_getaffinity", None)  # on Linux
    cores = len(usable(0)) if usable else os.cpu_count()
    return f"{model} ({cores} core{'' if cores == 1 else 's'})"
