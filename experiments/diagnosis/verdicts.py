"""What the numbers of a diagnosis come to, a sentence each."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.diagnosis.players import LABELS
from experiments.diagnosis.runs import ALL_LABELS, GOOD_TEACHER, LABELS_ALONE, METHOD, RIGHT_PIXELS

# Smaller differences than these are not spoken of. They are rules of thumb.
MIOU_MARGIN = 0.01
GAP_MARGIN = 0.1  # of the gap in mIoU between `labels alone` and `all labels`
MARGIN = 0.05  # in recall or IoU of a class, in a share of right pixels, in D's confidence
SURE_FROM = 0.95  # a probability from which the network is sure; as many should be right
FEWEST_RIGHT = 0.5  # of the pixels that teach a class
WEAK_GRADIENT = 0.01  # of the gradient of the labels
OF_LABELLED = ("loss.lambda_adv_labeled",)  # the weights of terms without unlabelled images


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each finding.

    Args:
      result: what `diagnosis.json` holds.
    """
    chooses = result["threshold_chooses_pixels"]
    return [
        *_of_the_gap(result["scores"], result["gap_closed"], chooses=chooses),
        *_of_average(result["average_and_raw"]),
        *_of_classes(result["scores"], result["over_time"]),
        *(() if "discriminator" in result else _of_trust(result["over_time"], chooses=chooses)),
        *_of_discriminator(result.get("discriminator")),
        *_of_gradients(result["gradient_norms"]),
    ]


def three_of(over_time: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the first line, the middle one and the last; all of them if there are fewer."""
    count = len(over_time)
    return [over_time[i] for i in sorted({0, count // 2, count - 1})] if over_time else []


def _of_the_gap(
    scores: Mapping[str, Any], closed: Mapping[str, float], *, chooses: bool
) -> Iterator[str]:
    """Compares the runs; `chooses` tells whether the method's threshold chooses pixels."""
    low, high = scores[LABELS_ALONE]["miou"], scores[ALL_LABELS]["miou"]
    if high - low < MIOU_MARGIN:
        yield (
            f"labels are not what limits: all of them reach mIoU {high:.3f}, the few {low:.3f}; "
            "train longer, or with another rate, before anything else"
        )
        return
    yield (
        f"the method closes {closed[METHOD]:.0%} of the gap between the few labels and all "
        f"(mIoU {low:.3f} to {high:.3f})"
    )
    right_pixels = f"right pixels alone close {closed[RIGHT_PIXELS]:.0%} of the gap"
    better_mask = closed[RIGHT_PIXELS] - max(closed[METHOD], 0)
    better_teacher = closed[GOOD_TEACHER] - max(closed[METHOD], closed[RIGHT_PIXELS], 0)
    if better_mask > GAP_MARGIN:
        yield f"{right_pixels}: wrong pixels are in the way, and " + (
            "a better mask would help" if chooses else "no threshold of this method leaves them out"
        )
    else:
        no_threshold = "no threshold will help, for " if chooses else ""
        yield f"{right_pixels}: {no_threshold}wrong pixels are not what limits"
    if better_teacher > GAP_MARGIN:
        yield (
            f"a good teacher closes {closed[GOOD_TEACHER]:.0%} of the gap: what the network "
            "predicts for unlabelled images limits; make it better before they take part (a later "
            "start, a higher rate, weights to start from)"
        )
    elif max(closed[GOOD_TEACHER], closed[RIGHT_PIXELS]) < GAP_MARGIN:
        yield (
            f"even a good teacher closes only {closed[GOOD_TEACHER]:.0%} of the gap: the term of "
            "the unlabelled images is too weak, or the run too short"
        )


def _of_classes(scores: Mapping[str, Any], over_time: list[dict[str, Any]]) -> Iterator[str]:
    lose, fall, rare, wrong = [], [], [], []
    for name, after in scores[METHOD]["iou"].items():
        before = scores[LABELS_ALONE]["iou"][name]
        if before is not None and after is not None and before - after > MARGIN:
            lose.append(f"{name} {before:.2f} to {after:.2f}")
    rows = three_of(over_time)
    for name in rows[-1]["classes"] if rows else ():
        *earlier, last = (row["classes"][name] for row in rows)
        best = max((row["recall"] for row in earlier if row["recall"] is not None), default=None)
        if best is not None and last["recall"] is not None and best - last["recall"] > MARGIN:
            fall.append(f"{name} {best:.2f} to {last['recall']:.2f}")
        elif last["true"] and last["predicted"] < last["true"] / 2:
            rare.append(f"{name} ({last['predicted']:.1%} of the pixels; {last['true']:.1%} are)")
        if last["right"] is not None and last["right"] < FEWEST_RIGHT:
            wrong.append(f"{name} ({last['right']:.0%})")
    for title, classes in (
        ("lower in IoU by the method than with labels alone", lose),
        ("pushed out as the method learns, recall on unlabelled images", fall),
        ("predicted less than half as often as they occur", rare),
        ("taught wrongly, less than half of the pixels that teach it are right", wrong),
    ):
        if classes:
            yield f"{title}: {', '.join(classes)}"


def _of_trust(over_time: list[dict[str, Any]], *, chooses: bool) -> Iterator[str]:
    """Compares probabilities with what is right; `chooses` is that of `_of_the_gap`."""
    if not over_time:
        return
    bins = [one for one in over_time[-1]["trust"] if one["from"] >= SURE_FROM and one["share"]]
    share = sum(one["share"] for one in bins)
    if not share:
        yield f"the network is never sure: no pixel has a probability of {SURE_FROM} or more"
        return
    right = sum(one["share"] * one["right"] for one in bins) / share
    if right < SURE_FROM - MARGIN:
        yield (
            "the network is too sure of itself: of the pixels with a probability of "
            f"{SURE_FROM} or more {right:.0%} are right; a higher learning rate or a later start "
            "may mend it"
            + (", a higher threshold only if the bins above it are better" if chooses else "")
        )


def _of_average(mious: Mapping[str, float]) -> Iterator[str]:
    if mious and abs(mious["average"] - mious["raw"]) > MIOU_MARGIN:
        better, worse = sorted(mious, key=lambda name: -mious[name])
        yield f"{better} weights are better than {worse} ones: mIoU " + (
            f"{mious[better]:.3f} and {mious[worse]:.3f}"
            + ("; average over fewer steps (a smaller `ema_decay`)" if better == "raw" else "")
        )


def _of_discriminator(losses: Mapping[str, float] | None) -> Iterator[str]:
    if losses is None:
        return
    trained, hard = losses["as trained"], losses["predictions one-hot"]
    if trained < math.log(2) and (hard - trained) / (math.log(2) - trained) > 0.5:
        yield (
            "D tells predictions from truth mainly by how soft they are: its loss rises from "
            f"{trained:.2f} to {hard:.2f} where predictions are one-hot (0.69 is guessing)"
        )
    right, wrong = losses["confidence where right"], losses["confidence where wrong"]
    if right - wrong < MARGIN:
        yield (
            f"D's confidence says little of what is right: {right:.2f} on right pixels and "
            f"{wrong:.2f} on wrong ones, so that no `semi_threshold` parts them"
        )


def _of_gradients(norms: Mapping[str, float]) -> Iterator[str]:
    of_unlabeled = {x: n for x, n in norms.items() if x not in (LABELS, *OF_LABELLED)}
    for name, norm in of_unlabeled.items():
        if norm < WEAK_GRADIENT * norms[LABELS]:
            yield (
                f"{name} hardly moves the network: its gradient is {norm / norms[LABELS]:.2%} of "
                "that of the labels"
            )
