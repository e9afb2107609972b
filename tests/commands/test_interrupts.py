"""What a command does when a signal stops it, also where Python drops a Ctrl-C."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sassn_jax.commands import command
from sassn_jax.errors import StoppedError


@pytest.fixture(autouse=True)
def _handlers():
    former = {number: signal.getsignal(number) for number in command.SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


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
    ("error", "arguments", "code", "line"),
    [
        (KeyboardInterrupt(), (), 130, "stopped"),
        (None, (), 143, "stopped"),
        (None, (command.TRAINING_GOES_ON,), 75, f"stopped; {command.TRAINING_GOES_ON}"),
        (StoppedError("at 5"), (command.TRAINING_GOES_ON,), 75, "at 5"),
    ],
)
def test_a_stopped_command_says_how_it_goes_on_if_it_does(
    monkeypatch, capsys, error, arguments, code, line
):
    def main():
        if error:
            raise error
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(command.app, "run", lambda main, flags_parser: main(["experiments/x.py"]))
    monkeypatch.setattr(command.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(command.os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["experiments/x.py"])
    with pytest.raises(SystemExit) as stopped:
        command.run(main, *arguments)
    assert stopped.value.code == code
    assert capsys.readouterr().err == f"x: {line}\n"


def test_what_another_thread_could_not_raise_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", command._raise_interrupt_again)

    class Interrupting:
        def __del__(self):
            raise KeyboardInterrupt

    thread = threading.Thread(target=Interrupting)
    thread.start()
    thread.join()
    time.sleep(0.3)  # longer than a Ctrl-C that is sent again takes


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "from sassn_jax.commands import main; main()", "train"),
        ("-m", "experiments.train"),
    ],
)
def test_ctrl_c_ends_a_command_that_still_imports(tmp_path, command):
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    flags = (f"--config={tmp_path / 'slow.py'}", f"--workdir={tmp_path / 'run'}")
    process = subprocess.Popen(
        [sys.executable, *command, *flags],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == -signal.SIGINT
