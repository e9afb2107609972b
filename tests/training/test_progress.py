"""Lines of progress in a log."""

import io

import pytest
from rich.console import Console

from sassn_jax.training import progress
from sassn_jax.training.progress import LINES, LineReporter, make_reporter


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets, in place of the time since some moment; it is noon."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "strftime", lambda form: "12:00:00")
    return now


def test_a_line_has_new_values_with_their_step_and_no_old_ones(clock):
    """Values that stand still beside a new time look like a run that learns nothing."""
    log = io.StringIO()
    reporter = LineReporter(Console(file=log, width=200), "run", 1000)
    clock[0] = 1.0
    reporter.update(1)
    reporter.values(2, {"loss": 0.51236})  # neither old nor of another tenth
    clock[0] = 16.0
    reporter.update(31)
    reporter.update(32)
    clock[0] = 41.0
    reporter.update(81)
    assert log.getvalue().splitlines() == [
        # 30 steps in 15 seconds, and 80 in 40; 969 and 919 are left.
        "run: 12:00:00  step 31/1000  at step 2: loss 0.5124  about 0:08:04 left",
        "run: 12:00:00  step 81/1000  about 0:07:40 left",
    ]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("num_steps", [10, 20, 99, 3000])
def test_a_run_that_takes_no_time_has_a_line_for_each_tenth(num_steps):
    log = io.StringIO()
    reporter = LineReporter(Console(file=log, width=200), "run", num_steps)
    every = num_steps // LINES
    for step in range(1, num_steps + 1):
        reporter.update(step)
        if step % every == 0:
            reporter.values(step, {"loss": 1 / step})
    lines = log.getvalue().splitlines()
    assert LINES <= len(lines) <= LINES + 1
    assert all("  loss " in line for line in lines)


def test_the_first_line_of_a_resumed_run_has_no_estimate(clock):
    log = io.StringIO()
    reporter = LineReporter(Console(file=log, width=200), "run", 100)
    clock[0] = 30.0
    reporter.update(51)  # the first step took 30 s, most of it the compiler's
    assert log.getvalue() == "run: 12:00:00  step 51/100\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_names_are_shown_as_they_are_and_as_the_stream_can(monkeypatch, terminal):
    """A stream of the caller's, which is strict, and stays so."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="latin-1", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    with make_reporter("ö[/b]:smile:☃", 9) as reporter:
        reporter.say("runs/w[sassn]\udcff")
        reporter.values(9, {"loss": 0.5})
    text = written.getvalue().decode("latin-1")
    assert "ö[/b]:smile:?" in text
    assert "runs/w[sassn]?" in text
    assert ("100%" in text) == terminal  # of the bar
    assert stream.errors == "strict"
