"""Runs cells one after another. Processes that work in one folder share them."""

import collections
import dataclasses
import gc
import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.reproduction import results
from experiments.reproduction.cells import Cell, Recipe
from experiments.reproduction.claims import STALE_AFTER, Claim, Claims
from experiments.reproduction.running import failure, run_cell
from sassn_jax.errors import InputError, OccupiedError
from sassn_jax.files import write_json
from sassn_jax.recipes import parse, resolve
from sassn_jax.training.workdir import Workdir

CLAIMS_FOLDER = "claims"
FINISHED = "finished"  # outcome of a claim
FINAL = "InputError"  # kind of error that another process would meet too
ATTEMPTS = 3  # of all processes together at a cell that fails with another error
FAILURES_IN_A_ROW = 3  # of one method, after which a process leaves the method to others
METHODS_IN_A_ROW = 3  # with a failure and no success between, after which it leaves everything
LOOK_EVERY = 10.0  # seconds between looks at what other processes run
SHOWN_WITHIN = 60.0  # seconds after which a shared folder shows what another host wrote

Say = Callable[[str], None]
Kind = tuple[str, str]  # method and head: what fits a machine or does not


def run_cells(workdir: Path, cells: Sequence[Cell], recipe: Recipe, say: Say) -> int:
    """Runs the cells that are not finished, and waits for those that other processes run.

    A run that diverges is a result. A cell that fails is recorded, and the next call tries it
    again. In this call it is left to other processes, whose machine may be able to run it, unless
    it would fail on any machine. A method that has failed three times in a row is left to other
    processes too, and so is everything after three such methods in a row. A cell whose process dies
    is taken over and goes on from its checkpoint.

    Must be called by the main thread, which SIGINT interrupts from here on.

    Args:
      workdir: may be shared by any number of processes on any number of hosts; see `claims`.
      cells: to run.
      recipe: what the cells share.
      say: prints a line of progress.

    Returns:
      The number of cells that are not finished.

    Raises:
      InputError: if the folder holds a cell of another config, or two cells have one name.
    """
    by_name = {cell.name: cell for cell in cells}
    for cell in cells:
        if by_name[cell.name] != cell:
            raise InputError(
                f"labels {cell.labels} and {by_name[cell.name].labels} would share the folder "
                f"{cell.name}; expected one of the two"
            )
        _check_folder(results.folder_of(workdir, cell), cell, recipe)
    # A process that loses a claim is told by SIGINT, which `&` in a script makes it ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    call = _Call(workdir, cells, recipe, say)
    call.run()
    call.wait_for_results()
    return sum(not call.is_finished(cell) for cell in cells)


class _Call:
    """What one process knows of its cells."""

    def __init__(self, workdir: Path, cells: Sequence[Cell], recipe: Recipe, say: Say):
        """Notes the results of earlier calls, to tell them from what other processes do now."""
        self.workdir, self.cells, self.recipe, self.say = workdir, cells, recipe, say
        self.claims = Claims(workdir / CLAIMS_FOLDER)
        self.results_before = {cell: self._result(cell) for cell in cells}
        self.ended_before = {cell: self.claims.ended(cell.name) for cell in cells}
        self.failed: set[Cell] = set()  # by this process
        # Failures in a row by method, which may be the fault of this machine.
        self.in_a_row: collections.Counter[Kind] = collections.Counter()
        self.failing: set[Kind] = set()  # methods that have failed since a cell was finished
        self.occupied_until: dict[Cell, float] = {}
        self.began = time.monotonic()

    def run(self) -> None:
        """Runs cells until all are settled, or this machine seems unfit for them."""
        remaining, waiting = list(self.cells), ""
        finished = sum(map(self.is_finished, self.cells))
        self.say(f"cells: {len(self.cells)}, of them finished: {finished}")
        while remaining:
            left = len(remaining)
            for cell in list(remaining):
                place = f"{len(self.cells) - len(remaining) + 1} of {len(self.cells)}"
                is_left = self.in_a_row[_kind(cell)] >= FAILURES_IN_A_ROW
                if is_left or self._is_settled(cell) or self._try(cell, place):
                    remaining.remove(cell)
                if len(self.failing) >= METHODS_IN_A_ROW:
                    self.say(
                        f"{len(self.failing)} methods in a row have failed; something may be "
                        "wrong with this machine, so the rest is left to other processes"
                    )
                    return
            if remaining and len(remaining) == left:
                names = ", ".join(cell.name for cell in remaining)
                if names != waiting:
                    self.say(f"waiting for other processes, which run {names}")
                waiting = names
                time.sleep(LOOK_EVERY)

    def wait_for_results(self) -> None:
        """Waits `SHOWN_WITHIN` seconds for results that other hosts have written."""
        until = time.monotonic() + SHOWN_WITHIN
        while hidden := [
            cell.name
            for cell in self.cells
            if self.is_finished(cell) and not results.has_ended(self._result(cell))
        ]:
            if time.monotonic() > until:
                self.say(
                    f"finished elsewhere, but not seen here yet: {', '.join(hidden)}; the same "
                    "command with --report will include them"
                )
                return
            time.sleep(min(LOOK_EVERY, SHOWN_WITHIN))

    def is_finished(self, cell: Cell) -> bool:
        """Whether the run has ended: by its result, or by a claim released during this call."""
        ended = self.claims.ended(cell.name)
        told = ended != self.ended_before[cell] and ended[1] == FINISHED
        return told or results.has_ended(self._result(cell))

    def _result(self, cell: Cell) -> dict[str, Any] | None:
        return results.read(results.folder_of(self.workdir, cell))

    def _is_settled(self, cell: Cell) -> bool:
        """Whether a cell is finished, or has failed and is not tried again in this call."""
        result, before = self._result(cell), self.results_before[cell]
        if cell in self.failed or self.is_finished(cell):
            return True
        if result is None or result == before:
            return False
        tried = result.get("attempts", 1) - (before or {}).get("attempts", 0)
        return result["error_kind"] == FINAL or tried >= ATTEMPTS

    def _try(self, cell: Cell, place: str) -> bool:
        """Runs a cell unless another process has it; returns False if it is still to be done."""
        if time.monotonic() < self.occupied_until.get(cell, 0.0):
            return False
        claim = self.claims.acquire(cell.name)
        if claim is None:
            return False
        minutes = (time.monotonic() - self.began) / 60
        self.say(f"{cell.name}: {place}, {minutes:.0f} min so far")
        try:
            with claim:
                if self.is_finished(cell):  # another process was quicker
                    claim.outcome = FINISHED
                elif not self._is_settled(cell):
                    self._run(cell, claim)
        except OccupiedError as error:  # a process lost the claim but may still write
            self.say(f"{cell.name}: {error}")
            self.occupied_until[cell] = time.monotonic() + STALE_AFTER
            return False
        except KeyboardInterrupt:
            if not claim.lost:
                raise
            self.say(f"{cell.name}: this process stood still for so long that another took it over")
            return False
        finally:
            gc.collect()  # frees the device's memory for the next run
        return True

    def _run(self, cell: Cell, claim: Claim) -> None:
        folder = results.folder_of(self.workdir, cell)
        try:
            _check_folder(folder, cell, self.recipe)
        except InputError as error:  # a process with another recipe has begun the cell meanwhile
            self.say(f"{cell.name}: {error}")
            self.failed.add(cell)
            return
        attempts = (self._result(cell) or {}).get("attempts", 0) + 1
        result = run_cell(folder, cell, self.recipe) | {"attempts": attempts}
        kind = _kind(cell)
        claim.check()  # a new owner would write the file
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / results.FILE, result)
        except OSError as error:
            result |= failure(error)
        self.say(f"{cell.name}: {_outcome(result)}")
        if results.has_ended(result):
            claim.outcome = FINISHED
            self.failing.clear()
        else:
            self.failed.add(cell)
        if results.has_ended(result) or result["error_kind"] == FINAL:
            del self.in_a_row[kind]
            return
        self.failing.add(kind)
        self.in_a_row[kind] += 1
        if self.in_a_row[kind] == FAILURES_IN_A_ROW:
            self.say(
                f"{cell.method}: {FAILURES_IN_A_ROW} cells in a row have failed; its others are "
                "left to other processes"
            )


def _kind(cell: Cell) -> Kind:
    return cell.method, cell.head


def _check_folder(folder: Path, cell: Cell, recipe: Recipe) -> None:
    try:
        config, _ = resolve(parse(recipe.config(cell)))
    except ValueError:  # the run will fail with this error, and the others can go on
        return
    Workdir(folder).check(config)
    now = json.loads(json.dumps(dataclasses.asdict(config.eval)))
    before = results.read(folder) or {}
    if results.is_finished(before) and before.get("eval", now) != now:
        raise InputError(
            f"{folder}: was scored with eval={before['eval']}, now {now}; choose another "
            f"--workdir, or remove {results.FILE} there to score it again"
        )


def _outcome(result: dict[str, Any]) -> str:
    if not results.is_finished(result):
        return f"{'diverged' if results.has_ended(result) else 'failed'}: {result['error']}"
    miou = result["miou"]
    score = "no mIoU" if miou is None else f"mIoU {100 * miou:.2f} on {result['split']}"
    return f"{score}, {result['seconds'] / 60:.1f} min"
