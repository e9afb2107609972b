"""Loader processes: what becomes of them when a signal comes, when one dies, or their parent."""

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sassn_jax.data.batch import Batch
from sassn_jax.errors import SIGNALS, UnfitError

SHARED_MEMORY = Path("/dev/shm")  # on Linux
REMEDY = "--config.loader_workers=0 needs none, docker run --shm-size=2g gives more"


def end_with_parent(number: int, workers: int) -> None:
    """Ends this worker when the process that started it is gone, even by SIGKILL.

    The shared memory that both used is then freed by Python's resource tracker, which ends last.
    It knows what it was told of, and `SharedMemory` tells it after it has taken the memory. So the
    worker does not end in between.
    """
    taking = threading.Lock()
    take = SharedMemory.__init__

    def take_whole(self: SharedMemory, *args: Any, **options: Any) -> None:
        with taking:
            take(self, *args, **options)

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        with taking:
            os._exit(1)

    SharedMemory.__init__ = take_whole  # type: ignore[method-assign]
    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Lets the processes that are started within the context never see signals that end a run.

    A terminal or a scheduler sends them to all processes. The main process decides what to do.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_tracker() -> None:
    """Starts the process that frees shared memory once all that used it are gone.

    Python would start it later, in the middle of `without_signals`, whose effect that ends. The
    tracker warns of what it frees after a run was killed, which is of no use to a user; it takes
    its filters of warnings from `sys.warnoptions`.
    """
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        with without_signals():
            resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()


def check_shared_memory(batch: Batch[np.ndarray], workers: int, batches: int) -> None:
    """Checks that the batches that are under way fit into the shared memory that is free.

    Args:
      batch: one of the largest.
      workers: the number of processes.
      batches: that are under way at a time, at most.

    Raises:
      UnfitError: with the size that is free and the size that is needed.
    """
    if not SHARED_MEMORY.is_dir():
        return
    needed = batches * sum(array.nbytes for array in jax.tree.leaves(batch))
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < needed:
        raise UnfitError(
            f"loader_workers={workers}: the batches under way take up to {_mebibytes(needed)} of "
            f"shared memory, and {SHARED_MEMORY} has {_mebibytes(free)} free; {REMEDY}"
        )


def death_of_worker(error: RuntimeError, workers: int) -> UnfitError | None:
    """Returns what to say of an error of Grain, None if it is not of a worker that has died."""
    found = re.search(r"terminated unexpectedly with exit code (-?\d+)", str(error))
    if not found:
        return None
    code = int(found[1])
    if code == -signal.SIGBUS:
        reason = f"died of SIGBUS, which a full {SHARED_MEMORY} causes; {REMEDY}"
    elif code == -signal.SIGKILL:
        reason = "was killed (SIGKILL), as is done where memory is short; fewer take less memory"
    else:
        reason = f"died with exit code {code}; with --config.loader_workers=0 there is none"
    return UnfitError(f"loader_workers={workers}: a loader process {reason}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
