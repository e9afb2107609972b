"""The numbers of the paper's Tables I to V, and what must be known to compare with them.

mIoU in percent, IoU of a class as a fraction of 1, both as printed. A method has the name that
`configs/common.py` knows it by, labels are the fraction of the training images that have them, and
a number that is not printed is not here. Where the text of a table is doubtful, the reading that
agrees with the other tables was taken, and a note says so.
"""

from typing import NamedTuple

FRACTIONS = ("1/8", "1/4", "1/2", "1")
UNSTABLE = "unstable"  # printed in the place of a number

Scores = dict[str, dict[str, float | str]]  # by method, then by labels


def _scores(**rows: tuple[float | str | None, ...]) -> Scores:
    return {
        method: {
            labels: value for labels, value in zip(FRACTIONS, row, strict=True) if value is not None
        }
        for method, row in rows.items()
    }


CITYSCAPES = _scores(  # Table I
    fcn8s=(None, None, None, 65.3),
    dilation=(None, None, None, 67.1),
    cutmix=(63.4, 65.2, 67.7, None),
    supervised=(55.5, 59.9, 64.1, 66.4),
    advsemiseg=(58.8, 62.3, 65.7, 67.7),
    sa=(61.2, 63.7, 67.5, 70.4),
    sassn=(62.0, 64.6, 68.3, 71.1),
)
VOC = _scores(  # Table II
    fcn8s=(None, None, None, 67.2),
    dilation=(None, None, None, 73.9),
    mittal=(71.4, None, None, 75.6),
    supervised=(66.0, 68.3, 69.8, 73.6),
    advsemiseg=(69.5, 72.1, 73.8, 74.9),
    sa=(70.3, 72.7, 75.9, 78.4),
    sassn=(71.8, 73.5, 76.3, 78.9),
)
DEEPLABV3 = _scores(  # Table IV; its rows of DeepLabv2 are those of Table II
    supervised=(UNSTABLE, 69.4, 70.9, 75.2),
    sassn=(72.8, 75.3, 77.0, 79.5),
)
ABLATION = _scores(  # Table V
    advsemiseg=(None, None, 73.82, 74.98),
    sn=(None, None, 74.52, 76.72),
    sa1=(None, None, 75.17, 77.69),
    sa=(None, None, 75.94, 78.45),
    sa1_sn=(None, None, 76.13, 78.68),
    sa2_sn=(None, None, 76.20, 78.74),
    sassn=(None, None, 76.36, 78.93),
)

# Table III: IoU of the 21 classes in the order of their ids, by labels, then by method. The mIoU
# that it prints beside them is that of Table II.
# fmt: off
PER_CLASS: dict[str, dict[str, tuple[float, ...]]] = {
    "1/8": {
        "advsemiseg": (
            0.93, 0.82, 0.40, 0.82, 0.63, 0.71, 0.90, 0.84, 0.84, 0.30, 0.72,
            0.40, 0.76, 0.73, 0.79, 0.83, 0.52, 0.75, 0.43, 0.79, 0.71),
        "sa": (
            0.93, 0.85, 0.41, 0.85, 0.67, 0.74, 0.88, 0.82, 0.86, 0.27, 0.80,
            0.42, 0.78, 0.78, 0.77, 0.83, 0.42, 0.77, 0.42, 0.78, 0.73),
        "sassn": (
            0.93, 0.87, 0.42, 0.85, 0.67, 0.76, 0.91, 0.82, 0.87, 0.32, 0.79,
            0.45, 0.80, 0.74, 0.76, 0.82, 0.52, 0.82, 0.45, 0.80, 0.70),
    },
    "1/4": {
        "advsemiseg": (
            0.93, 0.88, 0.40, 0.85, 0.67, 0.76, 0.91, 0.83, 0.86, 0.31, 0.79,
            0.45, 0.79, 0.75, 0.78, 0.84, 0.56, 0.79, 0.47, 0.79, 0.74),
        "sa": (
            0.94, 0.87, 0.42, 0.86, 0.69, 0.78, 0.92, 0.84, 0.89, 0.32, 0.76,
            0.48, 0.81, 0.74, 0.80, 0.85, 0.53, 0.78, 0.44, 0.82, 0.72),
        "sassn": (
            0.94, 0.89, 0.41, 0.87, 0.70, 0.74, 0.93, 0.85, 0.89, 0.35, 0.82,
            0.45, 0.80, 0.83, 0.80, 0.84, 0.55, 0.80, 0.44, 0.81, 0.74),
    },
    "1/2": {
        "advsemiseg": (
            0.94, 0.88, 0.41, 0.86, 0.67, 0.79, 0.91, 0.85, 0.87, 0.34, 0.81,
            0.52, 0.80, 0.80, 0.82, 0.84, 0.57, 0.82, 0.47, 0.81, 0.73),
        "sa": (
            0.94, 0.88, 0.42, 0.87, 0.67, 0.82, 0.93, 0.88, 0.89, 0.40, 0.86,
            0.59, 0.84, 0.84, 0.81, 0.86, 0.60, 0.81, 0.48, 0.84, 0.75),
        "sassn": (
            0.94, 0.89, 0.42, 0.85, 0.67, 0.83, 0.92, 0.86, 0.89, 0.39, 0.86,
            0.61, 0.85, 0.82, 0.81, 0.86, 0.60, 0.88, 0.46, 0.84, 0.75),
    },
    "1": {
        "advsemiseg": (
            0.94, 0.89, 0.41, 0.87, 0.67, 0.81, 0.91, 0.85, 0.88, 0.36, 0.83,
            0.53, 0.82, 0.80, 0.83, 0.85, 0.59, 0.83, 0.49, 0.83, 0.74),
        "sa": (
            0.94, 0.89, 0.43, 0.88, 0.73, 0.82, 0.94, 0.87, 0.90, 0.41, 0.85,
            0.59, 0.86, 0.83, 0.86, 0.87, 0.66, 0.87, 0.56, 0.88, 0.74),
        "sassn": (
            0.95, 0.90, 0.43, 0.87, 0.75, 0.82, 0.93, 0.86, 0.91, 0.42, 0.87,
            0.57, 0.86, 0.86, 0.85, 0.90, 0.65, 0.89, 0.55, 0.86, 0.77),
    },
}
# fmt: on


class Note(NamedTuple):
    """What must be known of a number: of a method's with some labels, of all its, or of all."""

    text: str
    method: str = ""
    labels: str = ""


_NO_SEEDS = Note("The paper reports no seeds.")
_COCO = Note(
    "The paper's networks start from weights trained on MS-COCO, with which this family scores "
    "several points higher at few labels than with ImageNet's; `weights` says what ours had."
)
_BRANCHES = Note(
    "Numbers of this family were published of code that evaluates two of its head's four branches, "
    "the paper's most likely too; ours evaluates all four, unless model.aspp_rates=(6, 12) is set."
)
_HUNG = Note(
    "The rows of DeepLabv2 and AdvSemiSeg equal those that Hung et al. publish (BMVC 2018): they "
    "are quoted, not run anew."
)
_HUNG_BATCH = Note("Hung et al. trained with batches of 10 where this paper says 8.")
_FULL = Note(
    "Full leaves no image unlabelled: it is training on labels and, where there is a D, against it."
)
_CLASSES_OF_SA = Note(
    "The classes printed in Table III have a mean of 78.00, 0.40 below the mIoU of Table II.",
    "sa",
    "1",
)
_CLASSES_OF_SASSN = Note(
    "The classes printed in Table III have a mean of 78.43, 0.47 below the mIoU of Table II.",
    "sassn",
    "1",
)
# By table. What compares our number, which is on val, with another protocol's must say so.
NOTES: dict[str, tuple[Note, ...]] = {
    "1": (
        Note("A score on the test split, published elsewhere.", "fcn8s", "1"),
        Note("Dilation10's score on the test split, published elsewhere.", "dilation", "1"),
        Note("Numbers that could not be traced to a publication of CutMix.", "cutmix"),
        Note("The paper does not say at which resolution it scores; ours is 512x1024."),
        _NO_SEEDS,
        _COCO,
        _BRANCHES,
        _HUNG,
        _FULL,
    ),
    "2": (
        Note("A score on VOC 2012's test split.", "fcn8s", "1"),
        Note(
            "Published for val, of Dilation8 with a CRF-RNN behind it, of which the paper says "
            "nothing; it calls the model Dilation10. Ours has the basic context module and no CRF.",
            "dilation",
            "1",
        ),
        Note(
            "As Mittal et al. publish it, the mean of three splits; the author advises to take "
            "the best of a run's snapshots, which is a choice on the images that score it.",
            "mittal",
        ),
        _CLASSES_OF_SA,
        _CLASSES_OF_SASSN,
        _NO_SEEDS,
        _COCO,
        _BRANCHES,
        _HUNG,
        _HUNG_BATCH,
        _FULL,
    ),
    "3": (
        _CLASSES_OF_SA,
        _CLASSES_OF_SASSN,
        _NO_SEEDS,
        _COCO,
        _BRANCHES,
        _FULL,
    ),
    "4": (
        Note(
            f"Of Ours v2 at Full: {_CLASSES_OF_SASSN.text[0].lower()}{_CLASSES_OF_SASSN.text[1:]}"
        ),
        _NO_SEEDS,
        _COCO,
        Note("The row of DeepLabv2 equals that which Hung et al., BMVC 2018, publish: quoted."),
        _FULL,
    ),
    "5": (
        Note(
            "In the text that was read the tick under SN stands a row higher, beside 73.82 and "
            "74.98; those are AdvSemiSeg's of Table II, and so taken as those of no component.",
            "sn",
        ),
        Note("The paper prints no such row.", "sa2"),
        _CLASSES_OF_SA,
        _CLASSES_OF_SASSN,
        Note(
            "That SA2 brings more than SA1 rests on 0.07 and 0.06, and the paper reports no seeds."
        ),
        _COCO,
        _BRANCHES,
        _FULL,
    ),
}
