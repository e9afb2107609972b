"""The cells of each table: the paper's five, and one for each of its two claims."""

import dataclasses
import fnmatch
import itertools
from collections.abc import Sequence

from experiments import paper_tables as paper
from experiments.reproduction.cells import Cell
from sassn_jax.errors import InputError

OTHERS = ("camvid", "scenes", "folder")  # datasets that every table of the paper can be made of
HALVES = ("1/8", "1/4", "1/2")
DEFAULT_LABELS = "1/8"  # of the tables that put the claims to the test
MULTIPLES = (1, 3, 10, 30)  # of D's learning rate
CLAIMS = ("stability", "distance")  # tables that put a claim of the paper to the test


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: a method.

    Attributes:
      title: as it is shown.
      method: its name in `sassn_jax.methods.METHODS`.
      head: see `Cell`.
      fractions: of labels, that the method is run with; all if empty.
      paper: the paper's numbers, by labels.
    """

    title: str
    method: str
    head: str = ""
    fractions: tuple[str, ...] = ()
    paper: dict[str, float | str] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table: labels, and a multiple of the recipe's learning rate of D."""

    labels: str
    multiple: int = 1

    @property
    def title(self) -> str:
        """As a table shows the labels."""
        return "Full" if self.labels == "1" else self.labels


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or one beside them.

    Attributes:
      name: its value of `--table`.
      title: says what it shows.
      rows: the methods.
      datasets: that it can be made of, the paper's first.
      columns: those of the paper.
      baseline: method of the row that the others are compared with; empty if there is none.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    datasets: tuple[str, ...] = ("voc", *OTHERS)
    columns: tuple[Column, ...] = tuple(map(Column, paper.FRACTIONS))
    baseline: str = ""

    def with_labels(self, labels: Sequence[str]) -> "Table":
        """Returns the table with these fractions in place of its own, for all of its rows.

        Raises:
          InputError: for several fractions of a table that takes only one.
        """
        if not labels:
            return self
        if self.name in CLAIMS and len(labels) > 1:
            raise InputError(f"--labels={','.join(labels)}: table {self.name} takes one fraction")
        multiples = dict.fromkeys(column.multiple for column in self.columns)
        rows = tuple(dataclasses.replace(row, fractions=()) for row in self.rows)
        columns = itertools.starmap(Column, itertools.product(dict.fromkeys(labels), multiples))
        return dataclasses.replace(self, rows=rows, columns=tuple(columns))

    def is_papers(self, dataset: str) -> bool:
        """Returns whether the paper has numbers to compare with."""
        return self.name not in CLAIMS and dataset == self.datasets[0]

    def notes(self, dataset: str) -> list[paper.Note]:
        """Returns the notes on the paper's numbers; none where there are no such numbers."""
        if not self.is_papers(dataset):
            return []
        return [note for note in paper.NOTES if self.name in note.tables.split()]

    def cell(self, dataset: str, row: Row, column: Column, seed: int) -> Cell:
        """Returns the run of a row in a column."""
        return Cell(dataset, row.method, column.labels, seed, row.head, column.multiple)

    def has(self, row: Row, column: Column) -> bool:
        """Returns whether a row is run in a column."""
        return not row.fractions or column.labels in row.fractions

    def cells(self, dataset: str, seeds: int) -> list[Cell]:
        """Returns all runs, seed after seed."""
        return [
            self.cell(dataset, row, column, seed)
            for seed in range(seeds)
            for row in self.rows
            for column in self.columns
            if self.has(row, column)
        ]


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Returns the cells whose names match one of the patterns; all cells if there are no patterns.

    A `/` matches the `-` that names have in its place: `*_1/8_*` means `*_1-8_*`.

    Raises:
      InputError: if a pattern matches nothing.
    """
    names = [cell.name for cell in cells]
    chosen: set[str] = set()
    for pattern in list(filter(None, patterns)) or ["*"]:
        matching = fnmatch.filter(names, pattern.replace("/", "-"))
        if not matching:
            raise InputError(
                f"--cells={pattern}: matches none of the {len(cells)} cells, such as {names[0]}"
            )
        chosen.update(matching)
    return [cell for cell in cells if cell.name in chosen]


def find(name: str, dataset: str) -> tuple[Table, str]:
    """Returns a table and the dataset to make it of, which is the paper's if `dataset` is empty.

    Raises:
      InputError: if there is no such table, or it cannot be made of this dataset.
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


def _printed(scores: paper.Scores, *rows: Row) -> tuple[Row, ...]:
    return tuple(dataclasses.replace(row, paper=scores.get(row.method, {})) for row in rows)


def _comparison(scores: paper.Scores) -> tuple[Row, ...]:
    """Rows of Tables I and II. The paper has CutMix only in the first, Mittal in the second.

    A method that learns from labels alone is run where the paper quotes it; one that needs
    unlabelled images, where there are some.
    """
    return _printed(
        scores,
        Row("FCN-8s", "fcn8s", fractions=("1",)),
        Row("Dilation", "dilation", fractions=("1",)),
        Row("CutMix", "cutmix", fractions=HALVES),
        Row("Mittal et al.", "mittal"),
        Row("DeepLabv2", "supervised"),
        Row("AdvSemiSeg", "advsemiseg"),
        Row("Ours (SA)", "sa"),
        Row("Ours (SA+SN)", "sassn"),
        # Methods that the paper does not have.
        Row("SN alone", "sn"),
        Row("AdvSemiSeg, as its code", "advsemiseg_code"),
        Row("s4GAN", "s4gan", fractions=HALVES),
        Row("UniMatch", "unimatch", fractions=HALVES),
        Row("UniMatch + SA+SN", "unimatch_sassn", fractions=HALVES),
    )


_TABLES = (
    Table(
        "1",
        "Table I: mIoU by labels",
        _comparison(paper.CITYSCAPES),
        ("cityscapes", *OTHERS),
        baseline="supervised",
    ),
    Table(
        "2",
        "Table II: mIoU by labels",
        _comparison(paper.VOC),
        baseline="supervised",
    ),
    Table(
        "3",
        "Table III: IoU of each class by labels",
        tuple(row for row in _comparison(paper.VOC) if row.method in paper.PER_CLASS["1"]),
    ),
    Table(
        "4",
        "Table IV: mIoU by head and labels",
        _printed(paper.VOC, Row("DeepLabv2", "supervised"), Row("Ours v2", "sassn"))
        + _printed(
            paper.DEEPLABV3,
            Row("DeepLabv3", "supervised", head="deeplabv3"),
            Row("Ours v3", "sassn", head="deeplabv3"),
        ),
        baseline="supervised",
    ),
    Table(
        "5",
        "Table V: mIoU by components",
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
        columns=(Column("1/2"), Column("1")),
        baseline="advsemiseg",
    ),
    Table(
        "stability",
        "D's learning rate, with and without spectral normalization",
        (Row("AdvSemiSeg", "advsemiseg"), Row("SN", "sn")),
        ("scenes",),
        tuple(Column(DEFAULT_LABELS, multiple) for multiple in MULTIPLES),
    ),
    Table(
        "distance",
        "Accuracy on the look-alike pair by distance from the signal",
        (Row("AdvSemiSeg", "advsemiseg"), Row("SA", "sa")),
        ("scenes",),
        (Column(DEFAULT_LABELS),),
    ),
)
TABLES = {table.name: table for table in _TABLES}
