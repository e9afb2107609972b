"""Verdicts on the last values of a run."""

import pytest

from sassn_jax.reporting.health import judge

HEALTHY = {
    "loss/discriminator": 0.3,
    "confidence/real": 0.7,
    "confidence/fake": 0.3,
    "self_training/kept": 0.4,
    "self_training/precision": 0.9,
    "alpha/attention3": 0.2,
    "alpha/attention4": -0.1,
    "sigma/conv1": 1.2,
    "sigma/conv2": 0.8,
    "input_wait": 0.01,
}


def test_each_metric_of_a_healthy_run_is_good():
    findings = judge(HEALTHY)
    assert [finding.verdict for finding in findings] == ["good"] * 8
    text = " ".join(finding.metric for finding in findings)
    assert all(name.split("/conv")[0] in text for name in HEALTHY)


def test_a_method_is_not_judged_by_metrics_that_it_lacks():
    assert judge({}) == []
    assert [finding.metric for finding in judge({"input_wait": 0.0})] == ["input_wait"]


@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        ({"loss/discriminator": 0.07}, "bad", "D has won"),
        ({"loss/discriminator": 0.15}, "look at it", "ahead"),
        ({"loss/discriminator": 0.69}, "look at it", "learns little"),
        ({"loss/discriminator": None}, "bad", "broken down"),
        ({"confidence/real": 0.99, "confidence/fake": 0.01}, "bad", "certain of every pixel"),
        ({"confidence/real": 0.96, "confidence/fake": 0.03}, "look at it", "nearly certain"),
        ({"confidence/real": 0.52, "confidence/fake": 0.5}, "look at it", "hardly tells"),
        ({"confidence/real": 0.4, "confidence/fake": 0.5}, "bad", "more readily"),
        ({"self_training/kept": 0.0}, "bad", "teach G nothing"),
        ({"self_training/kept": 0.02}, "look at it", "can change little"),
        ({"self_training/kept": 1.0}, "look at it", "chooses nothing"),
        ({"self_training/precision": 0.3}, "bad", "a wrong class"),
        ({"self_training/precision": 0.7}, "look at it", "a wrong class"),
        ({"alpha/attention3": 0.001}, "look at it", "hardly come into use"),
        ({"sigma/conv1": 1.0, "sigma/conv2": 1e-5}, "look at it", "vanished"),
        ({"sigma/conv1": None}, "bad", "broken down"),
        ({"input_wait": 0.1}, "look at it", "loader_workers"),
        ({"input_wait": 0.5}, "bad", "loader_workers"),
    ],
)
def test_what_is_wrong_gets_its_verdict_and_a_reason(values, verdict, words):
    (finding,) = judge(values)
    assert finding.verdict == verdict
    assert words in finding.reason
