"""Verdicts on the last values of a run."""

import math
import re
from pathlib import Path

import pytest

from sassn_jax.reporting.health import SIGNS, judge, not_judged

DOCS = Path(__file__).parents[2] / "docs" / "health.md"
ADVERSARIAL = {
    "loss/discriminator": 0.3,
    "confidence/real": 0.7,
    "confidence/fake": 0.3,
    "self_training/kept": 0.4,
    "self_training/precision": 0.9,
    "alpha/attention3": 0.2,
    "alpha/attention4": -0.1,
    "sigma/conv1": 1.2,
    "sigma/conv2": 0.8,
    "skipped/generator": 0.0,
    "skipped/discriminator": 0.0,
    "input_wait": 0.01,
}
CONSISTENCY = {
    "consistency/kept": 0.4,
    "consistency/precision": 0.9,
    "skipped/generator": 0.0,
    "input_wait": 0.01,
}
SUPERVISED = {"loss/cross_entropy": 0.7, "input_wait": 0.01}


def documented():
    """The names in the first column of the table of docs/health.md."""
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.parametrize(
    ("values", "count"), [(ADVERSARIAL, 10), (CONSISTENCY, 4), (SUPERVISED, 1), ({}, 0)]
)
def test_each_sign_of_a_healthy_run_is_good_and_the_rest_is_named(values, count):
    findings = judge([{"step": 1, **values}])
    assert [finding.verdict for finding in findings] == ["good"] * count
    assert all(finding.reason and finding.healthy for finding in findings)
    titles = {finding.title for finding in findings}
    absent = not_judged(findings)
    judged = {key for key in SIGNS if any(f.metric.startswith(key) for f in findings)}
    assert len(absent) == len(SIGNS) - len(judged)
    for key in judged:
        assert any(title.startswith(SIGNS[key].title) for title in titles)
    words = " ".join(f"{f.title} {f.value} {f.reason} {f.healthy}" for f in findings)
    assert not re.search(r"\b[DG]\b", words)  # for somebody who has not read the paper


def test_each_name_of_the_documents_table_is_judged():
    names = documented()
    assert set(ADVERSARIAL) | set(CONSISTENCY) == {*names, "sigma/conv2"}
    for name in names:
        key = next(key for key in SIGNS if name.startswith(key))
        findings = judge([{"step": 1, **ADVERSARIAL, **CONSISTENCY}])
        assert any(finding.metric.startswith(key) for finding in findings), name


# Of each row of the table in docs/health.md: a text of its last column, and the healthy numbers.
HEALTHY = {
    "loss/discriminator": ("0.2 to 0.5.", 0.2, 0.5),
    "confidence": ("higher by 0.05 to 0.9:", 0.05, 0.9),
    "self_training/kept": ("5% to 99% ", 0.05, 0.99),
    "self_training/precision": ("80% or more", 0.8, math.inf),
    "consistency/kept": ("5% or more", 0.05, math.inf),
    "consistency/precision": ("80% or more", 0.8, math.inf),
    "alpha": ("0.02 or more, of either sign", 0.02, math.inf),
    "sigma": ("within a factor of 3 ", -math.inf, 3.0),
    "skipped": ("none", -math.inf, 1e-30),
    "input_wait": ("below 5%", -math.inf, 0.05),
}


@pytest.mark.parametrize("key", SIGNS)
def test_the_limits_are_those_of_the_document(key):
    text, lowest, highest = HEALTHY[key]
    (row, *_) = (line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{key}"))
    assert text in row.split("|")[3]
    begins = [-math.inf, *(limit.below for limit in SIGNS[key].limits)]
    good = [
        (begin, limit.below)
        for begin, limit in zip(begins, SIGNS[key].limits, strict=False)
        if limit.verdict == "good"
    ]
    assert good == [(lowest, highest)]


@pytest.mark.parametrize("alpha", [0.0188, -0.0188, 0.0199])
def test_an_alpha_below_the_limit_is_not_in_use(alpha):
    (finding,) = judge([{"alpha/attention4": alpha}])
    assert finding.verdict == "look at it"


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        ({"loss/discriminator": 0.07}, "bad", "discriminator has won"),
        ({"loss/discriminator": 0.15}, "look at it", "ahead"),
        ({"loss/discriminator": 0.69}, "look at it", "learned little"),
        ({"loss/discriminator": None}, "bad", "broken down"),
        ({"confidence/real": 0.99, "confidence/fake": 0.01}, "bad", "certain of nearly every"),
        ({"confidence/real": 0.96, "confidence/fake": 0.03}, "look at it", "nearly certain"),
        ({"confidence/real": 0.52, "confidence/fake": 0.5}, "look at it", "hardly tells"),
        ({"confidence/real": 0.4, "confidence/fake": 0.5}, "bad", "more readily"),
        ({"confidence/real": 0.4, "confidence/fake": None}, "bad", "broken down"),
        ({"self_training/kept": 0.0}, "bad", "teach the network nothing"),
        ({"self_training/kept": 0.02}, "look at it", "can change little"),
        ({"self_training/kept": 1.0}, "look at it", "chooses nothing"),
        ({"self_training/precision": 0.3}, "bad", "a wrong class"),
        ({"self_training/precision": 0.7}, "look at it", "a wrong class"),
        ({"consistency/kept": 0.0}, "bad", "teach it nothing"),
        ({"consistency/kept": 0.02}, "look at it", "can change little"),
        ({"consistency/precision": 0.3}, "bad", "a wrong class"),
        ({"alpha/attention3": -0.001}, "look at it", "hardly takes part"),
        ({"alpha/attention3": None}, "bad", "broken down"),
        ({"sigma/conv1": 1.0, "sigma/conv2": None}, "bad", "broken down"),
        ({"step": 1000, "skipped/generator": 1.0}, "look at it", "more may come"),
        ({"step": 1000, "skipped/classifier": 10.0}, "bad", "taught the network nothing"),
        ({"input_wait": 0.1}, "look at it", "loader_workers"),
        ({"input_wait": 0.5}, "bad", "loader_workers"),
    ],
)
def test_what_is_wrong_gets_its_verdict_and_a_reason(values, verdict, words):
    (finding,) = judge([values])
    assert finding.verdict == verdict
    assert words in finding.reason


@pytest.mark.parametrize(
    ("last", "verdict"), [(2.5, "good"), (0.4, "good"), (3.5, "look at it"), (0.0, "look at it")]
)
def test_sigma_is_compared_with_the_first_that_was_logged(last, verdict):
    rows = [
        {"step": 1, "sigma/conv1": 1.0, "sigma/conv2": 0.5},
        {"step": 2, "val/miou": 0.5},
        {"step": 3, "sigma/conv1": last, "sigma/conv2": 0.5},
    ]
    (finding,) = judge(rows)
    assert finding.verdict == verdict


def test_a_precision_that_nobody_knows_is_not_judged():
    """Of a step in which no pixel was kept, or of images without masks."""
    findings = judge([{"self_training/precision": 0.9}, {"self_training/precision": None}])
    assert findings == []
    assert any("self_training/precision" in title for title, _ in not_judged(findings))
