"""Tables that several commands print."""

import itertools
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from sassn_jax.data import IGNORE_LABEL
from sassn_jax.data.statistics import LabelCounts


def class_table(class_names: Sequence[str], counts: Mapping[str, LabelCounts]) -> Table:
    """For each class, its share of the pixels of each split and how many masks it is in."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("class", overflow="fold")
    for split in counts:
        table.add_column(f"{split}\npixels".replace(" (", "\n("), justify="right")
        table.add_column("\nmasks", justify="right")
    for i, class_name in enumerate(class_names):
        cells = ((f"{c.share(c.pixels[i]):.2%}", str(c.images_with[i])) for c in counts.values())
        table.add_row(str(i), class_name, *itertools.chain(*cells))
    table.add_section()
    cells = ((f"{c.share(c.ignored):.2%}", "") for c in counts.values())
    table.add_row(str(IGNORE_LABEL), "(ignored)", *itertools.chain(*cells))
    return table
