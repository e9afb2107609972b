"""Stopping a run between two steps when a signal asks for it: SIGTERM, SIGINT or SIGHUP."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import jax

from sassn_jax import processes
from sassn_jax.errors import SIGNALS, StoppedError
from sassn_jax.terminal import silence

SAME = 1.0  # seconds after the first signal in which another one is taken for the same


class Stopping:
    """Knows whether a run is to stop. The loop asks after each step.

    The first signal leaves a note. A second one ends the process at once, with the exit code 128 +
    its number; in a program that Python's own handler of Ctrl-C serves, such as a notebook, it
    raises KeyboardInterrupt. Signals in the second after the first count as the first: a Ctrl-C
    goes to all programs of a terminal, and those that have started others pass it on to them.
    """

    def __init__(self, say: Callable[[str], None]):
        """Takes what prints a line for the user; another thread will call it."""
        self._say = say
        self._noted: signal.Signals | None = None
        self._noted_at = 0.0  # seconds
        self._agreement = processes.Agreement()

    def requested(self) -> bool:
        """Tells whether the run is to stop now.

        Several processes stop after the same step, if any of them is to: all must call this after
        each step, and the answer comes some steps late.
        """
        return self._agreement.any(self._noted is not None)

    @property
    def requested_alone(self) -> bool:
        """Whether a run of a single process is to stop."""
        return jax.process_count() == 1 and self._noted is not None

    def error(self, step: int) -> StoppedError:
        """Returns the error that ends a run of which the state after `step` steps is saved."""
        name = self._noted.name if self._noted else "a signal"
        return StoppedError(
            f"stopped by {name} after step {step}, which is saved; the same command goes on from "
            "there"
        )

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears signals while the context lasts.

        Outside the main thread it hears none, since Python handles signals there alone. A signal
        that the process was started to ignore, as by `nohup`, stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {
            name: handler
            for name in SIGNALS
            if (handler := signal.getsignal(name)) is not signal.SIG_IGN
        }
        raises = former.get(signal.SIGINT) is signal.default_int_handler
        terminals = [number for number in (1, 2) if os.isatty(number)]
        first: float | None = None

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal first
            now = time.monotonic()
            first = now if first is None else first
            if raises and now - first >= SAME:
                raise KeyboardInterrupt

        def listen() -> None:
            while number := receiver.recv(1):
                name = signal.Signals(number[0])
                if name == signal.SIGHUP:  # the terminal is gone: printing there would be an error
                    silence(*terminals)
                self._hear(name, may_end=not raises)

        # Python calls `handle` in the main thread, and not while that compiles, for minutes. The
        # number of a signal comes to the other thread at once.
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        thread = threading.Thread(target=listen, name="signals", daemon=True)
        thread.start()
        number_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        for name in former:
            signal.signal(name, handle)
        try:
            yield
        finally:
            for name, handler in former.items():
                signal.signal(name, handler)
            signal.set_wakeup_fd(number_before)
            sender.close()
            thread.join()
            receiver.close()

    def _hear(self, name: signal.Signals, *, may_end: bool) -> None:
        if name not in SIGNALS:
            return
        now = time.monotonic()
        if self._noted is None:
            self._noted, self._noted_at = name, now
            self._say(
                f"{name.name}: the run finishes its step, saves it and stops; what is being "
                "compiled comes first, which may take minutes; a second signal, more than a second "
                "later, ends it at once"
            )
        elif may_end and now - self._noted_at >= SAME:
            print(f"{name.name}: ended at once", file=sys.stderr, flush=True)
            os._exit(128 + name)
