"""Prepares a dataset once, so that training can read it.

python -m experiments.prepare --dataset=camvid --source=FOLDER --data_dir=FOLDER

It prints how often each class occurs in each split, and warns of what is usually a mistake: classes
that occur nowhere, ids that seem to begin at 1, masks in which everything is ignored.
"""

import itertools
import sys
from pathlib import Path

from absl import flags
from rich import box
from rich.table import Table

from experiments import command
from sassn_jax import data
from sassn_jax.data import IGNORE_LABEL, records
from sassn_jax.data.statistics import find_oddities
from sassn_jax.terminal import make_console

_DATASET = flags.DEFINE_string("dataset", None, f"One of {', '.join(data.PREPARED)}.")
_SOURCE = command.define_path(
    "source", None, "Folder of the dataset as it comes; docs/datasets.md says what it must hold."
)
_DATA_DIR = command.define_path("data_dir", None, "Folder for prepared datasets.")


def main() -> None:
    """Prepares the dataset that the flags name, and says what it holds."""
    name, source, data_dir = (command.required(flag) for flag in (_DATASET, _SOURCE, _DATA_DIR))
    with command.progress(f"preparing {name}") as show:
        wrote = data.prepare(name, source, data_dir, show)
    dataset = data.load(name, data_dir)
    counts = ", ".join(f"{len(images)} {split}" for split, images in dataset.splits.items())
    old = Path(data_dir) / name
    what = "prepared" if wrote else f"had been prepared already (remove {old} to do so again):"
    print(
        f"{data_dir}: {what} {dataset.info.name}, {dataset.info.num_classes} classes, "
        f"images: {counts}"
    )
    description = records.read_description(name, data_dir)
    make_console().print(_table(description))
    for note in description.notes:
        print(f"note: {note}")
    for oddity in find_oddities(description.class_names, description.counts):
        print(f"prepare: warning: {oddity}", file=sys.stderr)


def _table(description: records.Description) -> Table:
    """How much of each split is of each class: the share of pixels, and the number of masks."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("class", overflow="fold")
    for split in description.counts:
        table.add_column(f"{split}\npixels", justify="right")
        table.add_column("\nmasks", justify="right")
    counts = description.counts.values()
    for i, class_name in enumerate(description.class_names):
        cells = ((f"{c.share(c.pixels[i]):.2%}", str(c.images_with[i])) for c in counts)
        table.add_row(str(i), class_name, *itertools.chain(*cells))
    table.add_section()
    cells = ((f"{c.share(c.ignored):.2%}", "") for c in counts)
    table.add_row(str(IGNORE_LABEL), "(ignored)", *itertools.chain(*cells))
    return table


if __name__ == "__main__":
    command.run(main, "run it again, and what it had checked is not checked again")
