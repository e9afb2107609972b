"""Ctrl-C where Python drops it."""

import gc
import sys
import threading
import time

import pytest

from experiments import command


def test_an_interrupt_in_a_callback_of_the_collector_is_heard(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", command._hear_again)
    calls = []

    def callback(phase, info):
        if not calls:
            calls.append(phase)
            raise KeyboardInterrupt

    gc.callbacks.append(callback)
    try:
        gc.collect()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    finally:
        gc.callbacks.remove(callback)
    assert calls == ["start"]


def test_what_another_thread_could_not_raise_stops_nothing(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", command._hear_again)

    class Interrupting:
        def __del__(self):
            raise KeyboardInterrupt

    thread = threading.Thread(target=Interrupting)
    thread.start()
    thread.join()
    time.sleep(0.1)  # longer than a Ctrl-C that is sent again takes
