"""Verdicts on a run's last logged values: is the training healthy?"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Verdict = Literal["good", "look at it", "bad"]
Values = Mapping[str, float | None]  # by the metric's name; None for what is not a number

Reading = tuple[str, str, float | None]  # metric, value in words, and the number that is judged

NO_NUMBER = "not a number"
SMALLEST = 1e-30  # for a sigma of 0
BROKEN = "The value is not a number: the training has broken down."


class Limit(NamedTuple):
    """The verdict on a number below `below`, and the reason in one sentence."""

    below: float
    verdict: Verdict
    reason: str


class Sign(NamedTuple):
    """One row of the table in docs/health.md.

    Attributes:
      title: what it is, for somebody who has not seen the code.
      healthy: which values are healthy.
      absent: when a run has no value of it.
      limits: in rising order; the first one above the number holds.
    """

    title: str
    healthy: str
    absent: str
    limits: tuple[Limit, ...]


_NO_D = "only methods with a discriminator have it"
_PRECISION = (
    Limit(0.5, "bad", "Most of the pixels that are learned from have a wrong class."),
    Limit(0.8, "look at it", "Many of the pixels that are learned from have a wrong class."),
    Limit(math.inf, "good", "Most of the pixels that are learned from have the right class."),
)
_PRECISION_ABSENT = (
    "it is known only where pixels of unlabelled images are learned from, and have masks to compare"
)
SIGNS = {
    "loss/discriminator": Sign(
        "Loss of the discriminator",
        "0.2 to 0.5, a rule of thumb of AdvSemiSeg's author for VOC 2012",
        _NO_D,
        (
            Limit(0.1, "bad", "The discriminator has won: it sees through nearly every "
                  "prediction, so it teaches the network little."),
            Limit(0.2, "look at it", "The discriminator is ahead of the network."),
            Limit(0.5, "good", "The discriminator and the network keep each other busy."),
            Limit(math.inf, "look at it", "The discriminator has learned little so far: guessing "
                  "costs 0.69."),
        ),
    ),
    "confidence": Sign(
        "Mean confidence of the discriminator that a person drew a mask",
        "0.05 to 0.9 higher for drawn masks than for predictions",
        _NO_D,
        (
            Limit(0.0, "bad", "The discriminator takes predictions for drawn masks more readily "
                  "than drawn masks themselves."),
            Limit(0.05, "look at it", "The discriminator hardly tells drawn masks from "
                  "predictions."),
            Limit(0.9, "good", "The discriminator tells drawn masks from predictions, and is "
                  "certain of neither."),
            Limit(0.96, "look at it", "The discriminator is nearly certain, so it tells the "
                  "network little."),
            Limit(math.inf, "bad", "The discriminator is certain of nearly every pixel: "
                  "predictions can no longer fool it."),
        ),
    ),
    "self_training/kept": Sign(
        "Unlabelled pixels that the discriminator trusts, from which the network learns",
        "5% to 99%",
        "only methods in which a discriminator chooses what to learn from have it, and only once "
        "unlabelled images take part",
        (
            Limit(0.001, "bad", "The discriminator trusts no unlabelled pixel: unlabelled images "
                  "teach the network nothing in this way."),
            Limit(0.05, "look at it", "The discriminator trusts few unlabelled pixels, so they "
                  "can change little."),
            Limit(0.99, "good", "The discriminator chooses among the unlabelled pixels, and those "
                  "that it trusts teach the network."),
            Limit(math.inf, "look at it", "The discriminator trusts every unlabelled pixel: it "
                  "chooses nothing."),
        ),
    ),
    "self_training/precision": Sign(
        "Share of these pixels whose class is right", "80% or more", _PRECISION_ABSENT, _PRECISION
    ),
    "consistency/kept": Sign(
        "Unlabelled pixels whose class the network is sure of",
        "5% or more",
        "only methods that compare predictions for changed images have it, such as unimatch and "
        "cutmix",
        (
            Limit(0.001, "bad", "The network is sure of no unlabelled pixel: unlabelled images "
                  "teach it nothing."),
            Limit(0.05, "look at it", "The network is sure of few unlabelled pixels, so they can "
                  "change little."),
            Limit(math.inf, "good", "The network is sure of enough unlabelled pixels to learn "
                  "from them."),
        ),
    ),
    "consistency/precision": Sign(
        "Share of these pixels whose class is right", "80% or more", _PRECISION_ABSENT, _PRECISION
    ),
    "alpha": Sign(
        "Weight of attention",
        "0.02 or more, of either sign",
        "only networks with position attention have it",
        (
            Limit(0.02, "look at it", "Attention hardly takes part. It starts at 0 and needs some "
                  "hundreds of steps or more."),
            Limit(math.inf, "good", "Attention has come into use."),
        ),
    ),
    "sigma": Sign(
        "Size of the discriminator's kernels (their largest singular values)",
        "within a factor of 3 of the first logged value",
        "only a discriminator with spectral normalization has it",
        (
            Limit(3.0, "good", "The discriminator learns about as fast as at the start. It "
                  "divides each kernel by its size, so that the same step means less for a "
                  "larger one."),
            Limit(math.inf, "look at it", "The discriminator learns at another speed than at the "
                  "start. It divides each kernel by its size: where it has grown, steps change "
                  "the discriminator less, and where it has shrunk, more. Try another "
                  "optimizer.discriminator_lr."),
        ),
    ),
    "skipped": Sign(
        "Updates of a network that were skipped, since a number was not finite",
        "none",
        "runs that were logged by an earlier version have no count",
        (
            Limit(SMALLEST, "good", "All numbers were finite."),
            Limit(0.01, "look at it", "Some updates met a number that was not finite. They "
                  "changed nothing, but more may come: try a lower learning rate."),
            Limit(math.inf, "bad", "Many updates met a number that was not finite, and taught the "
                  "network nothing: try a lower learning rate."),
        ),
    ),
    "input_wait": Sign(
        "Share of the time spent waiting for data",
        "below 5%",
        "every run has it once values have been logged",
        (
            Limit(0.05, "good", "Steps hardly wait for data."),
            Limit(0.2, "look at it", "Steps wait for data; try a higher loader_workers."),
            Limit(math.inf, "bad", "Much of the time goes into waiting for data; try a higher "
                  "loader_workers."),
        ),
    ),
}  # fmt: skip


class Finding(NamedTuple):
    """The verdict on one sign.

    Attributes:
      metric: its name in `metrics.jsonl`.
      title: see `Sign`.
      value: as a person reads it.
      verdict: of the three.
      reason: one or more sentences.
      healthy: see `Sign`.
    """

    metric: str
    title: str
    value: str
    verdict: Verdict
    reason: str
    healthy: str


def judge(rows: Sequence[Values]) -> list[Finding]:
    """Judges each sign of the table in docs/health.md that a run has.

    Args:
      rows: what the run has logged, in order.

    Returns:
      The findings in the table's order, none for a sign that the run does not have.
    """
    first: dict[str, float | None] = {}
    last: dict[str, float | None] = {}
    for row in rows:
        first = {**row, **first}
        last.update(row)
    findings = []
    for key, sign in SIGNS.items():
        for metric, value, number in _read(key, first, last):
            limit = Limit(math.inf, "bad", BROKEN)
            if number is not None:
                limit = next(limit for limit in sign.limits if number < limit.below)
            title = sign.title
            if place := re.fullmatch(r"alpha/attention(\d)", metric):
                title += f" after stage {place[1]}"
            findings.append(
                Finding(metric, title, value, limit.verdict, limit.reason, sign.healthy)
            )
    return findings


def not_judged(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Returns the titles of the signs that a run does not have, each with when a run has it."""
    judged = {finding.metric for finding in findings}
    return [
        (f"{sign.title} ({key})", sign.absent)
        for key, sign in SIGNS.items()
        if not any(metric.startswith(key) for metric in judged)
    ]


def _read(key: str, first: Values, last: Values) -> list[Reading]:
    """Returns what there is to judge of a sign: metric, value in words, and number."""
    names = sorted(name for name in last if name == key or name.startswith(f"{key}/"))
    values = [last[name] for name in names]
    if key == "confidence":
        return _read_confidence(last) if len(names) == 2 else []
    if key == "sigma":
        return _read_sigmas([first[name] for name in names], values) if names else []
    if key == "alpha":
        return [
            (name, NO_NUMBER if value is None else f"{value:.4f}", value and abs(value))
            for name, value in zip(names, values, strict=True)
        ]
    if key == "skipped":
        return [_read_skipped(name, last) for name in names]
    if values == [None] and (key.endswith("/precision") or key == "input_wait"):
        return []  # there was no pixel, or no time, to take the share of
    form = "{:.3f}" if key.startswith("loss") else "{:.1%}"
    return [
        (name, NO_NUMBER if value is None else form.format(value), value)
        for name, value in zip(names, values, strict=True)
    ]


def _read_confidence(last: Values) -> list[Reading]:
    real, fake = last["confidence/real"], last["confidence/fake"]
    if real is None or fake is None:
        return [("confidence", NO_NUMBER, None)]
    return [("confidence", f"{real:.2f} for drawn masks, {fake:.2f} for predictions", real - fake)]


def _read_skipped(name: str, last: Values) -> Reading:
    """Judges the share of a network's updates."""
    count, steps = last[name] or 0.0, last.get("step") or 1.0
    player = name.partition("/")[2]
    return name, f"{count:.0f} of the {steps:.0f} of the {player}", count / steps


def _read_sigmas(first: Sequence[float | None], last: Sequence[float | None]) -> list[Reading]:
    """Judges the kernel whose sigma has changed by the largest factor."""
    pairs = [(a, b) for a, b in zip(first, last, strict=True) if a is not None and b is not None]
    if len(pairs) < len(last):
        return [("sigma", NO_NUMBER, None)]
    factor = max(max(a, b) / max(min(a, b), SMALLEST) for a, b in pairs)
    smallest, largest = min(b for _, b in pairs), max(b for _, b in pairs)
    shown = f"{smallest:.2g} to {largest:.2g}, changed by a factor of {factor:.3g} at the most"
    return [("sigma", shown, factor)]
