"""Lines of progress in a log."""

import io

from rich.console import Console

from sassn_jax.training import progress
from sassn_jax.training.progress import LineReporter


def test_a_line_has_the_latest_values_however_old(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 16.0, 16.0, 17.0, 40.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    log = io.StringIO()
    reporter = LineReporter(Console(file=log), "run", 9)  # at 0 s
    reporter.update(1)
    reporter.values(2, {"loss": 0.51236})
    reporter.update(3)  # at 16 s
    reporter.update(4)
    reporter.update(5)  # at 40 s
    assert log.getvalue().splitlines() == [
        "run: step 3/9  loss 0.5124",
        "run: step 5/9  loss 0.5124",
    ]
