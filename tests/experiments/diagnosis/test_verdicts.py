import pytest

from experiments.diagnosis import runs
from experiments.diagnosis.verdicts import three_of, verdicts


def run(miou, gate):
    return {"miou": miou, "iou": {"sky": 0.9, "gate": gate}}


def row(step, recall, right=0.9, predicted=0.04, sure=0.95):
    gate = {"recall": recall, "right": right, "predicted": predicted, "true": 0.05}
    sky = {"recall": 0.9, "right": 0.9, "predicted": 0.9, "true": 0.95}
    trust = [{"from": 0.5, "share": 0.5, "right": 0.6}, {"from": 0.95, "share": 0.5, "right": sure}]
    return {"step": step, "classes": {"sky": sky, "gate": gate}, "trust": trust}


def result(**changes):
    """A diagnosis in which there is nothing to find but how far the method goes."""
    scores = {
        runs.LABELS_ALONE: run(0.4, 0.3),
        runs.METHOD: run(0.5, 0.3),
        runs.RIGHT_PIXELS: run(0.5, 0.3),
        runs.GOOD_TEACHER: run(0.5, 0.3),
        runs.ALL_LABELS: run(0.6, 0.5),
    } | changes.pop("scores", {})
    plain = {
        "method": "unimatch",
        "threshold_chooses_pixels": True,
        "over_time": [row(10, 0.3), row(20, 0.3), row(30, 0.3)],
        "average_and_raw": {"average": 0.5, "raw": 0.5},
        "gradient_norms": {
            "labels": 1.0,
            "loss.lambda_adv_labeled": 0.001,
            "loss.lambda_semi": 0.1,
        },
    }
    return plain | changes | {"scores": scores, "gap_closed": runs.gaps_closed(scores)}


def test_a_run_with_nothing_to_find():
    assert verdicts(result()) == [
        "the method closes 50% of the gap between the few labels and all (mIoU 0.400 to 0.600)",
        "right pixels alone close 50% of the gap: no threshold will help, for wrong pixels are not "
        "what limits",
    ]


D = {
    "as trained": 0.2,
    "predictions one-hot": 0.3,
    "confidence where right": 0.6,
    "confidence where wrong": 0.4,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": {runs.RIGHT_PIXELS: run(0.58, 0.3)}}, "close 90% of the gap: wrong pixels are"),
        ({"scores": {runs.GOOD_TEACHER: run(0.58, 0.3)}}, "a good teacher closes 90% of the gap"),
        ({"scores": {runs.ALL_LABELS: run(0.39, 0.3)}}, "labels are not what limits"),
        (
            {
                "scores": {
                    name: run(0.4, 0.3)
                    for name in (runs.METHOD, runs.RIGHT_PIXELS, runs.GOOD_TEACHER)
                }
            },
            "even a good teacher closes only 0% of the gap",
        ),
        (
            {"scores": {runs.METHOD: run(0.5, 0.1)}},
            "by the method than with labels alone: gate 0.30 to 0.10",
        ),
        (
            {"over_time": [row(10, 0.1), row(20, 0.34), row(30, 0.24)]},
            "recall on unlabelled images: gate 0.34 to 0.24",
        ),
        (
            {"over_time": [row(10, 0.3, predicted=0.017)]},
            "as often as they occur: gate (1.7% of the pixels; 5.0% are)",
        ),
        (
            {"over_time": [row(10, 0.3, right=0.4)]},
            "teach it are right: gate (40%)",
        ),
        ({"over_time": [row(10, 0.3, sure=0.86)]}, "too sure of itself: of the pixels with a"),
        ({"average_and_raw": {"average": 0.4, "raw": 0.5}}, "raw weights are better than average"),
        ({"average_and_raw": {"average": 0.5, "raw": 0.4}}, "average weights are better than raw"),
        ({"discriminator": D | {"predictions one-hot": 0.6}}, "mainly by how soft they are"),
        ({"discriminator": D | {"confidence where wrong": 0.58}}, "says little of what is right"),
        (
            {"gradient_norms": {"labels": 1.0, "loss.lambda_semi": 0.005}},
            "loss.lambda_semi hardly moves the network: its gradient is 0.50% of",
        ),
    ],
)
def test_what_is_found(changes, said):
    plain, found = verdicts(result()), verdicts(result(**changes))
    (new,) = (line for line in found if line not in plain and said in line)
    assert new


@pytest.mark.parametrize(
    ("changes", "other", "cutmix"),
    [
        ({}, "no threshold will help", "wrong pixels are not what limits"),
        (
            {"scores": {runs.RIGHT_PIXELS: run(0.58, 0.3)}},
            "a better mask would help",
            "no threshold of this method leaves them out",
        ),
        ({"over_time": [row(10, 0.3, sure=0.86)]}, "higher threshold", "too sure of itself"),
    ],
)
def test_a_threshold_that_chooses_no_pixels_is_not_advised(changes, other, cutmix):
    said = "\n".join(verdicts(result(threshold_chooses_pixels=False, **changes)))
    assert other in "\n".join(verdicts(result(**changes)))
    assert cutmix in said
    assert other not in said


@pytest.mark.parametrize(
    ("steps", "shown"), [((), ()), ((1,), (1,)), ((1, 2), (1, 2)), (range(1, 6), (1, 3, 5))]
)
def test_no_line_is_shown_twice(steps, shown):
    assert [line["step"] for line in three_of([row(step, 0.3) for step in steps])] == list(shown)


def test_d_that_is_healthy_and_a_method_that_never_began():
    assert verdicts(result(discriminator=D)) == verdicts(result())
    assert verdicts(result(over_time=[])) == verdicts(result())
