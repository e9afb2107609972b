"""Which cells each table has: the paper's five, and one for each of its two claims."""

import dataclasses
import fnmatch
from collections.abc import Sequence

from experiments import paper_tables as paper
from experiments.reproduction.cells import Cell
from sassn_jax.errors import InputError

OTHERS = ("camvid", "scenes", "folder")  # which every table may be made of
HALVES = ("1/8", "1/4", "1/2")
DEFAULT_LABELS = "1/8"  # where a table has no fractions of its own
MULTIPLES = (1, 3, 10, 30)  # of D's learning rate
CLAIMS = ("stability", "distance")  # of the paper, put to the test


@dataclasses.dataclass(frozen=True)
class Row:
    """A method, as a table has it.

    Attributes:
      title: as it is shown.
      method: its name in `configs/common.py`.
      head: see `Cell`.
      fractions: those for which it is run, all if it is empty. What learns from labels alone is run
        where the paper quotes it, and what needs unlabelled images where there are some.
      paper: the paper's numbers, by labels.
    """

    title: str
    method: str
    head: str = ""
    fractions: tuple[str, ...] = ()
    paper: dict[str, float | str] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Column:
    """Labels, and what else tells a column from its neighbours."""

    labels: str
    discriminator_lr_multiple: int = 1

    @property
    def title(self) -> str:
        """As it is shown among columns of other labels."""
        return "Full" if self.labels == "1" else self.labels


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or one beside them.

    Attributes:
      name: as `--table` has it.
      title: of what it shows.
      datasets: of which it can be made, the paper's first.
      rows: the methods.
      columns: as the paper has them.
      baseline: method of the row that the others are compared with.
      notes: what must be known to compare with the paper.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    baseline: str = ""
    notes: tuple[paper.Note, ...] = ()

    def with_labels(self, labels: Sequence[str]) -> "Table":
        """Returns the table with these fractions, for all of its rows, in place of its own.

        Raises:
          InputError: if it can have but one.
        """
        if not labels:
            return self
        if self.name in CLAIMS and len(labels) > 1:
            raise InputError(f"--labels={','.join(labels)}: table {self.name} takes one fraction")
        multiples = dict.fromkeys(column.discriminator_lr_multiple for column in self.columns)
        return dataclasses.replace(
            self,
            rows=tuple(dataclasses.replace(row, fractions=()) for row in self.rows),
            columns=tuple(
                Column(choice, rate) for choice in dict.fromkeys(labels) for rate in multiples
            ),
        )

    def is_papers(self, dataset: str) -> bool:
        """Returns whether the paper has numbers to compare with."""
        return self.name not in CLAIMS and dataset == self.datasets[0]

    def cell(self, dataset: str, row: Row, column: Column, seed: int) -> Cell:
        """Returns the run of a row in a column."""
        multiple = column.discriminator_lr_multiple
        return Cell(dataset, row.method, column.labels, seed, row.head, multiple)

    def has(self, row: Row, column: Column) -> bool:
        """Returns whether a row is run in a column."""
        return not row.fractions or column.labels in row.fractions

    def cells(self, dataset: str, seeds: int) -> list[Cell]:
        """Returns all runs, those of one seed after those of another."""
        return [
            self.cell(dataset, row, column, seed)
            for seed in range(seeds)
            for row in self.rows
            for column in self.columns
            if self.has(row, column)
        ]


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Returns the cells whose name matches one of the patterns, all where there are none.

    A `/` is taken as names have it: `*_1/8_*` matches what `*_1-8_*` does.

    Raises:
      InputError: if a pattern matches nothing.
    """
    chosen = set()
    for pattern in list(filter(None, patterns)) or ["*"]:
        as_named = pattern.replace("/", "-")
        matching = {cell for cell in cells if fnmatch.fnmatchcase(cell.name, as_named)}
        if not matching:
            raise InputError(
                f"--cells={pattern}: matches none of the {len(cells)} cells, "
                f"such as {cells[0].name}"
            )
        chosen |= matching
    return [cell for cell in cells if cell in chosen]


def find(name: str, dataset: str) -> tuple[Table, str]:
    """Returns a table, and the dataset that it is made of: the paper's, where none is named.

    Raises:
      InputError: where there is no such table, or not of this dataset.
    """
    if name not in TABLES:
        raise InputError(f"--table={name}: expected one of {', '.join(TABLES)}")
    table = TABLES[name]
    dataset = dataset or table.datasets[0]
    if dataset not in table.datasets:
        raise InputError(
            f"--dataset={dataset}: expected one of {', '.join(table.datasets)} for table {name}"
        )
    return table, dataset


_FRACTIONS = tuple(map(Column, paper.FRACTIONS))
_BEYOND = (  # what the paper does not have
    Row("SN alone", "sn"),
    Row("AdvSemiSeg, as its code", "advsemiseg_code"),
    Row("s4GAN", "s4gan", fractions=HALVES),
    Row("UniMatch", "unimatch", fractions=HALVES),
    Row("UniMatch + SA+SN", "unimatch_sassn", fractions=HALVES),
)


def _comparison(scores: paper.Scores) -> tuple[Row, ...]:
    """Rows of Tables I and II, of which the paper has CutMix in the one, Mittal in the other."""
    rows = (
        Row("FCN-8s", "fcn8s", fractions=("1",)),
        Row("Dilation", "dilation", fractions=("1",)),
        Row("CutMix", "cutmix", fractions=HALVES),
        Row("Mittal et al.", "mittal"),
        Row("DeepLabv2", "supervised"),
        Row("AdvSemiSeg", "advsemiseg"),
        Row("Ours (SA)", "sa"),
        Row("Ours (SA+SN)", "sassn"),
    )
    return _printed(scores, *rows) + _BEYOND


def _printed(scores: paper.Scores, *rows: Row) -> tuple[Row, ...]:
    return tuple(dataclasses.replace(row, paper=scores.get(row.method, {})) for row in rows)


TABLES = {
    table.name: table
    for table in (
        Table(
            "1",
            "Table I: mIoU by labels",
            ("cityscapes", *OTHERS),
            _comparison(paper.CITYSCAPES),
            _FRACTIONS,
            baseline="supervised",
            notes=paper.NOTES["1"],
        ),
        Table(
            "2",
            "Table II: mIoU by labels",
            ("voc", *OTHERS),
            _comparison(paper.VOC),
            _FRACTIONS,
            baseline="supervised",
            notes=paper.NOTES["2"],
        ),
        Table(
            "3",
            "Table III: IoU of each class by labels",
            ("voc", *OTHERS),
            _printed(
                paper.VOC,
                Row("AdvSemiSeg", "advsemiseg"),
                Row("Ours (SA)", "sa"),
                Row("Ours (SA+SN)", "sassn"),
            ),
            _FRACTIONS,
            notes=paper.NOTES["3"],
        ),
        Table(
            "4",
            "Table IV: mIoU by head and labels",
            ("voc", *OTHERS),
            (
                *_printed(paper.VOC, Row("DeepLabv2", "supervised"), Row("Ours v2", "sassn")),
                *_printed(
                    paper.DEEPLABV3,
                    Row("DeepLabv3", "supervised", head="deeplabv3"),
                    Row("Ours v3", "sassn", head="deeplabv3"),
                ),
            ),
            _FRACTIONS,
            baseline="supervised",
            notes=paper.NOTES["4"],
        ),
        Table(
            "5",
            "Table V: mIoU by components",
            ("voc", *OTHERS),
            _printed(
                paper.ABLATION,
                Row("none", "advsemiseg"),
                Row("SN", "sn"),
                Row("SA1", "sa1"),
                Row("SA2", "sa2"),
                Row("SA1, SA2", "sa"),
                Row("SA1, SN", "sa1_sn"),
                Row("SA2, SN", "sa2_sn"),
                Row("SA1, SA2, SN", "sassn"),
            ),
            tuple(map(Column, ("1/2", "1"))),
            baseline="advsemiseg",
            notes=paper.NOTES["5"],
        ),
        Table(
            "stability",
            "D's learning rate, with and without spectral normalization",
            ("scenes",),
            (Row("AdvSemiSeg", "advsemiseg"), Row("SN", "sn")),
            tuple(Column(DEFAULT_LABELS, multiple) for multiple in MULTIPLES),
        ),
        Table(
            "distance",
            "Accuracy on the look-alike pair by distance from the signal",
            ("scenes",),
            (Row("AdvSemiSeg", "advsemiseg"), Row("SA", "sa")),
            (Column(DEFAULT_LABELS),),
        ),
    )
}
