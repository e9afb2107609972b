"""Runs what a table of the paper shows, and writes it beside the paper's numbers.

    python -m experiments.reproduce --table=2 --data_dir=DATA --weights=FILE --workdir=DIR
    python -m experiments.reproduce --table=5 --dataset=camvid --labels=1/32,1 --workdir=DIR ...

--table is one of 1 to 5, stability (D's learning rate, with and without spectral normalization) or
distance (what attention sees far away); the last two are of scenes. A cell of a table is a run in
DIR/cells/DATASET_METHOD_LABELS_seedN. Tables share cells. Any number of processes may work in one
DIR, on any number of hosts.

The same command goes on where it was stopped, and tries again what failed; the exit code is 1 if
some cell has failed. A run that diverged is a result: remove its result.json to run it again. A
cell that has killed three processes at one step is not tried again until its begun.json is removed.

On voc, cityscapes and folder, networks start from random weights only with --weights=random. A
folder needs a test.txt; --labels=1 uses all its masks, and its unlabelled images besides.
DIR/table_NAME.md, .csv and .png hold the result, beside scores of each run and some predictions.
"""

import sys
from pathlib import Path

from absl import flags

from sassn_jax.commands import command
from sassn_jax.terminal import make_console

_TABLE = flags.DEFINE_string("table", None, "1, 2, 3, 4, 5, stability or distance.", required=True)
_DATASET = flags.DEFINE_string(
    "dataset", "", "voc, cityscapes, camvid, scenes or folder; the paper's if empty."
)
_WORKDIR = command.define_path("workdir", None, "Folder of the runs.", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 3, "How many seeds each cell is run with.", 1)
_CELLS = flags.DEFINE_list(
    "cells", [], "Names of the cells to run, such as voc_sassn_1/8_* (with * and ?); all if empty."
)
_LABELS = flags.DEFINE_list("labels", [], "Fractions of labels in place of the table's own.")
_DATA_DIR = command.define_path("data_dir", "", "Folder where sassn prepare has put the dataset.")
_WEIGHTS = flags.DEFINE_list(
    "weights",
    [],
    "File that the recipe's backbone starts from; BACKBONE=FILE for another; random for none.",
)
_SET = flags.DEFINE_multi_string(
    "set", [], "Field of the config and its value, such as num_steps=100, for all cells."
)
_REPORT = flags.DEFINE_bool("report", False, "Whether to write the report and run nothing.")


def main() -> None:
    """Runs the cells that are not finished, and writes the report."""
    # After the flags: JAX takes seconds.
    from experiments.reproduction import report, tables
    from experiments.reproduction.cells import Recipe, parse_overrides, parse_weights
    from experiments.reproduction.results import FOLDER
    from experiments.reproduction.scheduling import run_cells
    from sassn_jax.devices import check_platform
    from sassn_jax.errors import InputError

    workdir = Path(command.required(_WORKDIR))
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir={workdir}: is a file; expected a folder")
    if _REPORT.value and not (workdir / FOLDER).is_dir():
        raise InputError(f"--report: {workdir} holds no runs; leave out --report to make them")
    table, dataset = tables.find(command.required(_TABLE), _DATASET.value)
    table = table.with_labels(_LABELS.value)
    cells = tables.select(table.cells(dataset, _SEEDS.value), _CELLS.value)
    recipe = Recipe(
        dataset, _DATA_DIR.value, parse_weights(_WEIGHTS.value), parse_overrides(_SET.value)
    )
    if not _REPORT.value:
        recipe.check(_LABELS.value, cells)
    check_platform()  # once: otherwise each cell would fail
    report.check(workdir, table, dataset, None if _REPORT.value else recipe, cells)
    say = make_console(soft_wrap=True).print
    failed = 0
    if not _REPORT.value:
        failed = run_cells(workdir, cells, recipe, say)
    report.write_report(workdir, table, dataset, say, _DATA_DIR.value)
    if failed:
        say(f"{failed} of {len(cells)} cells are not finished; the same command tries them again")
        sys.exit(1)


if __name__ == "__main__":
    command.run(main, command.TRAINING_GOES_ON)
