"""Verdicts on a run's last logged values: is the training healthy?"""

import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

Verdict = Literal["good", "look at it", "bad"]

ATTENTION_IN_USE = 0.01  # the weight of an attention layer starts at exactly 0
SIGMA_RANGE = (1e-3, 1e3)  # beyond it, the division of a kernel by its sigma loses digits


class Finding(NamedTuple):
    """The verdict on one metric.

    Attributes:
      metric: its name in `metrics.jsonl`.
      value: as a person reads it.
      verdict: of the three.
      reason: one sentence.
    """

    metric: str
    value: str
    verdict: Verdict
    reason: str


def judge(values: Mapping[str, float | None]) -> list[Finding]:
    """Judges each metric of README's table on health that a run has.

    Args:
      values: the last logged value of each metric by its name; None for one that is not a number.

    Returns:
      The findings in the table's order. A method without a metric has no finding for it.
    """
    return [
        *_discriminator_loss(values),
        *_confidence(values),
        *_self_training(values),
        *_attention(values),
        *_sigmas(values),
        *_input_wait(values),
    ]


def _discriminator_loss(values: Mapping[str, float | None]) -> Iterator[Finding]:
    name = "loss/discriminator"
    if name not in values:
        return
    loss = values[name]
    if loss is None:
        yield Finding(name, "not a number", "bad", "The training of D has broken down.")
    elif loss < 0.1:
        reason = "D has won: it sees through nearly every prediction and teaches G little."
        yield Finding(name, f"{loss:.3f}", "bad", reason)
    elif loss < 0.2:
        reason = "D is ahead of G; a healthy loss is between 0.2 and 0.5."
        yield Finding(name, f"{loss:.3f}", "look at it", reason)
    elif loss <= 0.5:
        yield Finding(name, f"{loss:.3f}", "good", "D and G keep each other busy.")
    else:
        reason = "D learns little; a healthy loss is between 0.2 and 0.5, and guessing costs 0.69."
        yield Finding(name, f"{loss:.3f}", "look at it", reason)


def _confidence(values: Mapping[str, float | None]) -> Iterator[Finding]:
    if not {"confidence/real", "confidence/fake"} <= values.keys():
        return
    name = "confidence/real and confidence/fake"
    real, fake = values["confidence/real"], values["confidence/fake"]
    if real is None or fake is None:
        yield Finding(name, "not a number", "bad", "The training of D has broken down.")
        return
    shown = f"{real:.2f} and {fake:.2f}"
    if real > 0.98 and fake < 0.02:
        reason = "D is certain of every pixel, so predictions can no longer fool it."
        yield Finding(name, shown, "bad", reason)
    elif real <= fake:
        reason = "D takes predictions for labels more readily than labels themselves."
        yield Finding(name, shown, "bad", reason)
    elif real - fake < 0.05:
        yield Finding(name, shown, "look at it", "D hardly tells labels from predictions.")
    elif real - fake > 0.9:
        reason = "D is nearly certain; its verdicts carry little information for G."
        yield Finding(name, shown, "look at it", reason)
    else:
        reason = "D tells labels from predictions and is not certain of either."
        yield Finding(name, shown, "good", reason)


def _self_training(values: Mapping[str, float | None]) -> Iterator[Finding]:
    name = "self_training/kept"
    kept = values.get(name)
    if kept is not None:
        if kept < 0.001:
            reason = "No unlabelled pixel passes D's threshold: unlabelled images teach G nothing."
            yield Finding(name, f"{kept:.1%}", "bad", reason)
        elif kept < 0.05:
            reason = "Few unlabelled pixels pass D's threshold, so they can change little."
            yield Finding(name, f"{kept:.1%}", "look at it", reason)
        elif kept > 0.99:
            reason = "Every unlabelled pixel passes D's threshold, so D chooses nothing."
            yield Finding(name, f"{kept:.1%}", "look at it", reason)
        else:
            reason = "D chooses among the unlabelled pixels, and those that pass teach G."
            yield Finding(name, f"{kept:.1%}", "good", reason)
    name = "self_training/precision"
    right = values.get(name)
    if right is not None:
        if right < 0.5:
            reason = "Most unlabelled pixels that teach G teach it a wrong class."
            yield Finding(name, f"{right:.1%}", "bad", reason)
        elif right < 0.8:
            reason = "Many unlabelled pixels that teach G teach it a wrong class."
            yield Finding(name, f"{right:.1%}", "look at it", reason)
        else:
            reason = "Most unlabelled pixels that teach G teach it the right class."
            yield Finding(name, f"{right:.1%}", "good", reason)


def _attention(values: Mapping[str, float | None]) -> Iterator[Finding]:
    for name in sorted(name for name in values if name.startswith("alpha/")):
        alpha = values[name]
        if alpha is None:
            yield Finding(name, "not a number", "bad", "The training of G has broken down.")
        elif abs(alpha) < ATTENTION_IN_USE:
            reason = "Attention has hardly come into use; it starts at 0 and may need more steps."
            yield Finding(name, f"{alpha:.4f}", "look at it", reason)
        else:
            yield Finding(name, f"{alpha:.4f}", "good", "Attention has come into use.")


def _sigmas(values: Mapping[str, float | None]) -> Iterator[Finding]:
    sigmas = {name: value for name, value in values.items() if name.startswith("sigma/")}
    if not sigmas:
        return
    known = [value for value in sigmas.values() if value is not None]
    if len(known) < len(sigmas):
        yield Finding("sigma", "not a number", "bad", "The training of D has broken down.")
        return
    shown = f"{min(known):.3g} to {max(known):.3g}"
    if min(known) < SIGMA_RANGE[0] or max(known) > SIGMA_RANGE[1]:
        reason = "A kernel of D has vanished or exploded, though spectral norm divides by sigma."
        yield Finding("sigma", shown, "look at it", reason)
    else:
        reason = "The kernels of D have singular values of a usual size."
        yield Finding("sigma", shown, "good", reason)


def _input_wait(values: Mapping[str, float | None]) -> Iterator[Finding]:
    name = "input_wait"
    wait = values.get(name)
    if wait is None or not math.isfinite(wait):
        return
    if wait < 0.05:
        yield Finding(name, f"{wait:.1%}", "good", "Steps hardly wait for data.")
    elif wait < 0.2:
        reason = "Steps wait for data; try a higher loader_workers."
        yield Finding(name, f"{wait:.1%}", "look at it", reason)
    else:
        reason = "Much of the time goes into waiting for data; try a higher loader_workers."
        yield Finding(name, f"{wait:.1%}", "bad", reason)
