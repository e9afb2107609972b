"""Ctrl-C where Python drops it."""

import gc
import sys
import threading
import time

import pytest

from sassn_jax.commands import command


def test_an_interrupt_in_a_callback_of_the_collector_is_heard(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", command._raise_interrupt_again)
    calls = []

    def callback(phase, info):
        if not calls:
            calls.append(phase)
            raise KeyboardInterrupt

    gc.callbacks.append(callback)
    try:
        gc.collect()
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (raised between two sleeps)
            for _ in range(1000):
                time.sleep(0.01)
    finally:
        gc.callbacks.remove(callback)
    assert calls == ["start"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "stopped"),
        ((command.TRAINING_GOES_ON,), "stopped; run it again, and training goes on from its last"),
    ],
)
def test_a_stopped_command_says_how_it_goes_on_if_it_does(monkeypatch, capsys, arguments, line):
    def main():
        raise KeyboardInterrupt

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(command.app, "run", lambda main, flags_parser: main(["experiments/x.py"]))
    monkeypatch.setattr(command.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(command.os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["experiments/x.py"])
    with pytest.raises(SystemExit) as stopped:
        command.run(main, *arguments)
    assert stopped.value.code == 130
    error = capsys.readouterr().err
    assert error.startswith(f"x: {line}")
    assert ("training" in error) == bool(arguments)


def test_what_another_thread_could_not_raise_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", command._raise_interrupt_again)

    class Interrupting:
        def __del__(self):
            raise KeyboardInterrupt

    thread = threading.Thread(target=Interrupting)
    thread.start()
    thread.join()
    time.sleep(0.1)  # longer than a Ctrl-C that is sent again takes
