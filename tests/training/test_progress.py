"""Lines of progress in a log."""

import io

import pytest
from rich.console import Console

from sassn_jax.training import progress
from sassn_jax.training.progress import LineReporter, make_reporter


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
    assert ("9/9" in text) == terminal
    assert stream.errors == "strict"
