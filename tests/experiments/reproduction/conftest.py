"""Results as cells leave them, and runs small enough for tests."""

import pytest

from experiments.reproduction import running

TINY = {
    "num_steps": 6,
    "batch_size": 2,
    "crop_size": (32, 48),
    "log_every": 1,
    "eval_every": 6,
    "checkpoint_every": 2,
    "loss.semi_start": 4,
}


def result_of(cell, miou, **other):
    """A finished cell's result."""
    return {
        "cell": cell.name,
        "seed": cell.seed,
        "dataset": cell.dataset,
        "method": cell.method,
        "labels": cell.labels,
        "began": "2026-01-01T00:00:00.000000+00:00",
        "miou": miou,
        "iou": {"meadow": miou, "wall": None},
        "split": "test",
        "step": 10,
        "resumed_at": 0,
        "seconds": 60.0,
        "device": "cpu",
        "devices": 2,
        "weights": "random",
        "changes": {},
        "health": {"step": 9, "loss/discriminator": 0.3},
        **other,
    }


@pytest.fixture
def said():
    """What a command says, as a list to append to."""
    return []


@pytest.fixture
def stub(monkeypatch):
    """Stands in for training: notes the calls, and raises what it is told to, once each."""
    calls, errors, scored_with = [], [], {}

    def train_and_evaluate(config, workdir):
        calls.append((config.method, config.seed))
        if errors and (error := errors.pop(0)) is not None:
            raise error

    monkeypatch.setattr(running, "train_and_evaluate", train_and_evaluate)

    def evaluate_run(workdir, split, overrides):
        scored_with.update(overrides)
        return {"split": split, "miou": 0.5, "iou": {"wall": 0.5}, "overrides": overrides}

    monkeypatch.setattr(running, "evaluate_run", evaluate_run)
    # Nothing was trained, and a process of tests has much to look through.
    monkeypatch.setattr("experiments.reproduction.scheduling.gc.collect", lambda: None)
    return calls, errors, scored_with
