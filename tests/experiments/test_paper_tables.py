"""The paper's numbers are those of its text, and agree with each other where they should."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments import paper_tables as paper
from sassn_jax.data.voc2012_aug import CLASS_NAMES
from sassn_jax.methods import METHODS

TEXT = Path(__file__).parents[3] / "shared" / "spec" / "paper.txt"
LABELS_AND_METHODS = [
    (labels, method) for labels, rows in paper.PER_CLASS.items() for method in rows
]


def rows_of(scores):
    return [[row[labels] for labels in paper.FRACTIONS if labels in row] for row in scores.values()]


CLASSES = [
    [*paper.PER_CLASS[labels][method], paper.VOC[method][labels]]
    for labels, method in LABELS_AND_METHODS
]
OF_V2 = {method: paper.VOC[method] for method in ("supervised", "sassn")}


@pytest.mark.skipif(not TEXT.is_file(), reason="the text of the paper is not here")
@pytest.mark.parametrize(
    ("number", "rows"),
    [
        ("I", rows_of(paper.CITYSCAPES)),
        ("II", rows_of(paper.VOC)),
        ("III", CLASSES),
        ("IV", rows_of(OF_V2) + rows_of(paper.DEEPLABV3)),
        ("V", rows_of(paper.ABLATION)),
    ],
)
def test_the_numbers_are_those_of_the_text(number, rows):
    _, _, text = TEXT.read_text(encoding="utf-8").partition(f"\nTABLE {number}\n")
    _, _, text = text.partition("\n\n")  # after the caption
    lines = text.partition("\n\n")[0].splitlines()
    found = [re.findall(r"\t(\d+\.\d+|unstable)", line) for line in lines]
    read = [[x if x == paper.UNSTABLE else float(x) for x in row] for row in found if row]
    assert read == rows


@pytest.mark.parametrize(("labels", "method"), LABELS_AND_METHODS)
def test_classes_of_table_iii_have_the_printed_mean_or_a_note(labels, method):
    classes = paper.PER_CLASS[labels][method]
    assert len(classes) == len(CLASS_NAMES)
    mean = 100 * np.mean(classes)
    gap = paper.VOC[method][labels] - mean
    notes = [
        note.text
        for note in paper.NOTES
        if "3" in note.tables.split() and (note.method, note.labels) == (method, labels)
    ]
    # Rounding 21 numbers to two places moves their mean by 0.06 or so, the mIoU by 0.05.
    assert len(notes) == (abs(gap) > 0.21)
    assert all(f"a mean of {mean:.2f}, {gap:.2f} below the mIoU" in note for note in notes)


def test_table_v_repeats_table_ii():
    for method in ("advsemiseg", "sa", "sassn"):
        for labels, value in paper.ABLATION[method].items():
            assert value == pytest.approx(paper.VOC[method][labels], abs=0.1)


def test_methods_are_ours():
    for scores in (paper.CITYSCAPES, paper.VOC, paper.DEEPLABV3, paper.ABLATION):
        assert scores.keys() <= METHODS.keys()
