"""A signal stops a run between two steps, and the next call goes on from there."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from sassn_jax.errors import StoppedError
from sassn_jax.training import parallel
from sassn_jax.training.album import Album
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.loop import is_finished, train_and_evaluate
from sassn_jax.training.stopping import SAME, SIGNALS, Stopping
from sassn_jax.training.workdir import Workdir
from tests.training.conftest import (
    assert_equal_bits,
    make_networks_tiny,
    make_runs_small,
    rows_of,
    tiny_config,
)

STEPS = 8
VARYING = ("images_per_second", "input_wait")


def send(name: signal.Signals) -> None:
    os.kill(os.getpid(), name)
    time.sleep(0.3)  # until another thread has read it


def scalars_of(workdir):
    return [{k: v for k, v in row.items() if k not in VARYING} for row in rows_of(workdir)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The last state of a run that nothing stops, and its workdir."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        make_runs_small(patch)
        make_networks_tiny(patch)
        return train_and_evaluate(tiny_config("supervised"), workdir), workdir


def test_a_run_is_saved_between_two_log_lines_and_goes_on_to_the_same_bits(
    undisturbed, workdir, monkeypatch, small_runs, tiny_networks, capsys
):
    handlers = [signal.getsignal(number) for number in SIGNALS]
    puts = iter(range(1, STEPS + 1))

    def put(batch, mesh, put_batch=parallel.put_batch):
        if next(puts) == 5:
            send(signal.SIGTERM)
        return put_batch(batch, mesh)

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "put_batch", put)
        with pytest.raises(StoppedError, match=r"^stopped by SIGTERM after step 5, which is s"):
            train_and_evaluate(tiny_config("supervised"), workdir)
    assert "SIGTERM: the run finishes its step" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert sorted(os.listdir(workdir / "checkpoints")) == ["3", "5"]
    state = train_and_evaluate(tiny_config("supervised"), workdir)
    assert_equal_bits(state, undisturbed[0])
    assert scalars_of(workdir) == scalars_of(undisturbed[1])
    assert sorted(os.listdir(workdir / "checkpoints")) == ["6", "8"]


def test_an_evaluation_is_left_and_made_up_for(
    undisturbed, workdir, monkeypatch, small_runs, tiny_networks
):
    def take(self, *arguments, take=Album.take):
        send(signal.SIGTERM)
        take(self, *arguments)

    config = tiny_config("supervised")
    config.eval_batch_size = config.keep = 1
    with monkeypatch.context() as patch:
        patch.setattr(Album, "take", take)
        for _ in range(2):  # the second call begins with the evaluation
            with pytest.raises(StoppedError, match="after step 8, which is saved"):
                train_and_evaluate(config, workdir)
            assert not is_finished(config, workdir)
            assert not any("val/miou" in row for row in rows_of(workdir))
    state = train_and_evaluate(config, workdir)
    assert_equal_bits(state, undisturbed[0])
    assert scalars_of(workdir) == scalars_of(undisturbed[1])
    assert is_finished(config, workdir)
    with Checkpoints(Workdir(workdir), read_only=True) as checkpoints:
        assert checkpoints.best_step == STEPS


def test_a_second_ctrl_c_in_a_program_of_python_is_an_interrupt():
    said = []
    stopping = Stopping(said.append)
    with pytest.raises(KeyboardInterrupt) as error, stopping.listening():  # noqa: PT012
        send(signal.SIGINT)
        assert stopping.requested()
        send(signal.SIGINT)  # passed on by another program
        time.sleep(SAME)
        send(signal.SIGINT)
    assert not isinstance(error.value, StoppedError)
    assert len(said) == 1


@pytest.mark.parametrize("ignored", [True, False])
def test_a_signal_that_is_ignored_stays_ignored(ignored):
    """As by `nohup`."""
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    former = signal.signal(signal.SIGHUP, handler)
    try:
        stopping = Stopping(lambda line: None)
        with stopping.listening():
            send(signal.SIGHUP)
        assert stopping.requested() != ignored
        assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, former)


def test_another_thread_leaves_signals_to_the_main_thread():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def listen():
        with Stopping(pytest.fail).listening():
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


TWICE = """
import os, signal, time
from sassn_jax.training.stopping import Stopping

signal.signal(signal.SIGINT, lambda number, frame: None)  # a command has a handler of its own
with Stopping(print).listening():
    for name, seconds in (("SIGINT", 0.3), ("SIGTERM", 1), ("SIGTERM", 1)):
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(seconds)
        print("goes on", flush=True)
"""


def test_a_second_signal_ends_a_command_at_once():
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "SIGTERM: ended at once\n"
    assert done.stdout.count("goes on") == 2  # those within a second count as one


UNREAD = """
import pathlib, sys
from sassn_jax.training.progress import make_reporter

reporter = make_reporter("run", 10)
reporter.say("read")
sys.stdin.read()
reporter.say("not read")
print("neither", flush=True)
print("nor this", file=sys.stderr, flush=True)
pathlib.Path(sys.argv[1]).touch()
"""


def test_a_run_outlives_the_reader_of_its_lines(tmp_path):
    left = tmp_path / "left"
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", UNREAD, str(left)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
    assert process.stdout.readline() == b"run: read\n"
    process.stdout.close()
    process.stdin.close()
    assert process.wait() == 0
    assert left.exists()


HUNG_UP = """
import pathlib, signal, sys, time
from sassn_jax.training.stopping import Stopping

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which is ignored where the tests are under nohup
stopping = Stopping(print)
with stopping.listening():
    print("ready", flush=True)
    while not stopping.requested():
        time.sleep(0.1)
    time.sleep(0.5)
    print("nobody reads this", flush=True)
pathlib.Path(sys.argv[1]).touch()
"""


def test_a_run_outlives_its_terminal(tmp_path):
    left = tmp_path / "left"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", HUNG_UP, str(left)])
    said = b""
    while b"ready\r\n" not in said:  # its end too, which the terminal takes by itself
        said += os.read(terminal, 1000)
    os.close(terminal)
    os.waitpid(pid, 0)
    assert left.exists()
