"""The numbers of the paper's Tables I to V, and notes for whoever compares with them.

mIoU is in percent, IoU of a class a fraction of 1, both as printed. Methods have the names of
`sassn_jax.methods.METHODS`; labels are the fraction of the training images that have them. A number
that is not printed is not here. Where the text of a table is doubtful, the reading that agrees with
the other tables was taken, and a note says so.
"""

from typing import NamedTuple

FRACTIONS = ("1/8", "1/4", "1/2", "1")
UNSTABLE = "unstable"  # printed in place of a number

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

# Table III: labels, method, and IoU in hundredths of the 21 classes in the order of their ids. The
# mIoU that it prints beside them is that of Table II.
_PER_CLASS = """
1/8 advsemiseg 93 82 40 82 63 71 90 84 84 30 72 40 76 73 79 83 52 75 43 79 71
1/8 sa         93 85 41 85 67 74 88 82 86 27 80 42 78 78 77 83 42 77 42 78 73
1/8 sassn      93 87 42 85 67 76 91 82 87 32 79 45 80 74 76 82 52 82 45 80 70
1/4 advsemiseg 93 88 40 85 67 76 91 83 86 31 79 45 79 75 78 84 56 79 47 79 74
1/4 sa         94 87 42 86 69 78 92 84 89 32 76 48 81 74 80 85 53 78 44 82 72
1/4 sassn      94 89 41 87 70 74 93 85 89 35 82 45 80 83 80 84 55 80 44 81 74
1/2 advsemiseg 94 88 41 86 67 79 91 85 87 34 81 52 80 80 82 84 57 82 47 81 73
1/2 sa         94 88 42 87 67 82 93 88 89 40 86 59 84 84 81 86 60 81 48 84 75
1/2 sassn      94 89 42 85 67 83 92 86 89 39 86 61 85 82 81 86 60 88 46 84 75
1   advsemiseg 94 89 41 87 67 81 91 85 88 36 83 53 82 80 83 85 59 83 49 83 74
1   sa         94 89 43 88 73 82 94 87 90 41 85 59 86 83 86 87 66 87 56 88 74
1   sassn      95 90 43 87 75 82 93 86 91 42 87 57 86 86 85 90 65 89 55 86 77
"""
PER_CLASS: dict[str, dict[str, tuple[float, ...]]] = {
    fraction: {
        method: tuple(int(iou) / 100 for iou in ious)
        for labels, method, *ious in map(str.split, _PER_CLASS.strip().splitlines())
        if labels == fraction
    }
    for fraction in FRACTIONS
}


class Note(NamedTuple):
    """What a reader must know to compare with the paper's numbers.

    Attributes:
      tables: names of the tables whose numbers it is about.
      text: whole sentences.
      method: whose numbers it is about; empty if all.
      labels: column that it is about; empty if all.
    """

    tables: str
    text: str
    method: str = ""
    labels: str = ""


_SASSN_GAP = (
    "The classes printed in Table III have a mean of 78.43, 0.47 below the mIoU of Table II."
)
# Ours are scores on val: a note says so where the paper's number is of another split.
NOTES = (
    Note("1", "A score on the test split, published elsewhere.", "fcn8s", "1"),
    Note("1", "Dilation10's score on the test split, published elsewhere.", "dilation", "1"),
    Note("1", "Numbers that could not be traced to a publication of CutMix.", "cutmix"),
    Note("1", "The paper does not say at which resolution it scores; ours is 512x1024."),
    Note("2", "A score on VOC 2012's test split.", "fcn8s", "1"),
    Note(
        "2",
        "Published for val, of Dilation8 followed by a CRF-RNN, which the paper does not mention; "
        "it calls the model Dilation10. Ours has the basic context module and no CRF.",
        "dilation",
        "1",
    ),
    Note(
        "2",
        "As Mittal et al. publish it, the mean of three splits. The author advises to take the "
        "best of a run's snapshots, which is a choice on the images that score it.",
        "mittal",
    ),
    Note(
        "5",
        "In the text that was read the tick under SN stands a row higher, beside 73.82 and 74.98. "
        "Those are AdvSemiSeg's numbers in Table II, so they are taken as those of no component.",
        "sn",
    ),
    Note("5", "The paper prints no such row.", "sa2"),
    Note(
        "2 3 5",
        "The classes printed in Table III have a mean of 78.00, 0.40 below the mIoU of Table II.",
        "sa",
        "1",
    ),
    Note("2 3 5", _SASSN_GAP, "sassn", "1"),
    Note("4", f"Of Ours v2 at Full: {_SASSN_GAP[0].lower()}{_SASSN_GAP[1:]}"),
    Note(
        "5",
        "That SA2 brings more than SA1 rests on 0.07 and 0.06, and the paper reports no seeds.",
    ),
    Note("1 2 3 4", "The paper reports no seeds."),
    Note(
        "1 2 3 4 5",
        "The paper's networks start from weights trained on MS-COCO. With these, networks of this "
        "family score several points higher at few labels than with ImageNet's; `weights` says "
        "what ours started from.",
    ),
    Note(
        "1 2 3 5",
        "Published numbers of this family come from code that evaluates two of its head's four "
        "branches, and most likely the paper's too. Ours evaluates all four, unless "
        "model.aspp_rates=(6, 12) is set.",
    ),
    Note(
        "1 2",
        "The rows of DeepLabv2 and AdvSemiSeg equal those that Hung et al. publish (BMVC 2018): "
        "they are quoted, not run anew.",
    ),
    Note("4", "The row of DeepLabv2 equals that of Hung et al. (BMVC 2018): it is quoted."),
    Note("2", "Hung et al. trained with batches of 10 where this paper says 8."),
    Note(
        "1 2 3 4 5",
        "Full leaves no image unlabelled: it is training on labels, and against D if there is one.",
    ),
)
