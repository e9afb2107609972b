"""Claims: each cell is run by one process at a time, of any number on any number of hosts.

A claim is a file `NAME.1` in a folder that all processes share, made by exclusive creation. Its
owner writes to it every `BEAT_EVERY` seconds, and marks it as released at the end. Claims are never
removed. When a claim is released or stale, the next owner is the process that creates the file with
the next number; exclusive creation lets only one process do so. The owner of a cell is the process
that created the highest number.

A claim is stale if its process is gone, which only processes of the same machine can see; or if an
observer has seen the same content for `STALE_AFTER` seconds by its own clock, so that the clocks of
hosts need not agree. An owner that was halted for so long finds its successor at its next beat, and
stops. A released claim also holds the outcome: NFS may hide a new file for a while from processes
that have looked for it before, but not new content.

The file system must offer two things: exclusive creation succeeds for one process of all hosts, and
who opens a file sees what was written before it was last closed. Local file systems, NFS from
version 3 on, Lustre, GPFS and SMB do; object stores mounted as folders do not. Locks are not
needed. Where there are none, an owner that was halted may write beside its successor until its next
beat.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

BEAT_EVERY = 20.0  # seconds
STALE_AFTER = 300.0
_SIZE = 512  # bytes of every claim, so that it is overwritten in place


class Claims:
    """The claims in a folder, as one process sees them."""

    def __init__(self, folder: Path):
        """Makes the folder if there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def acquire(self, name: str) -> "Claim | None":
        """Returns a claim of a cell, to be entered by `with`; None if another process has it."""
        number = _highest(self._folder, name)
        if number and not self._is_free(self._folder / f"{name}.{number}"):
            return None
        try:
            (self._folder / f"{name}.{number + 1}").touch(exist_ok=False)
        except FileExistsError:
            return None
        return Claim(self._folder, name, number + 1)

    def ended(self, name: str) -> tuple[int, str]:
        """Returns number and outcome of the last released claim of a cell; 0 and "" if none is."""
        for number in range(_highest(self._folder, name), 0, -1):
            content = _parse((self._folder / f"{name}.{number}").read_bytes())
            if "released" in content:
                return number, content.get("outcome", "")
        return 0, ""

    def _is_free(self, path: Path) -> bool:
        """Whether a claim is released or stale."""
        content = path.read_bytes()
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        if content != before:
            self._seen[path] = (content, since := now)
        owner = _parse(content)
        here = _machine()
        gone = here is not None and owner.get("machine") == here and not _is_running(owner["pid"])
        return "released" in owner or gone or now - since >= STALE_AFTER


class Claim:
    """A claim of this process, which a thread keeps fresh within a `with` block.

    The main thread must enter it. If another process takes the claim over, `lost` is set and this
    thread gets SIGINT, as by Ctrl-C; the process must not ignore it. `outcome` is a word that other
    processes read after the release.
    """

    def __init__(self, folder: Path, name: str, number: int):
        """Does not write yet: entering does."""
        self.lost = False
        self.outcome = ""
        self._folder, self._name, self._number = folder, name, number
        self._path = folder / f"{name}.{number}"
        self._beats = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Claim":
        self._owner = threading.get_ident()
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the claim then becomes stale
            self._write(released=True)

    def check(self) -> None:
        """Raises KeyboardInterrupt if another process has the claim, without waiting for a beat."""
        if self._is_lost():
            self.lost = True
            raise KeyboardInterrupt

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_EVERY):
            if self._is_lost():
                self.lost = True
                # Unlike `_thread.interrupt_main`, this also ends a wait of the main thread.
                signal.pthread_kill(self._owner, signal.SIGINT)
                return

    def _is_lost(self) -> bool:
        """Writes a beat; returns whether there is a successor or the claim was removed."""
        try:
            if _highest(self._folder, self._name) > self._number:
                return True
            self._write()
        except OSError as error:  # otherwise the disk is full or not there, which may pass
            return isinstance(error, FileNotFoundError)
        return False

    def _write(self, *, released: bool = False) -> None:
        self._beats += 1
        content: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": _machine(),
            "beats": self._beats,
        }
        if released:
            content |= {"released": True, "outcome": self.outcome}
        with open(self._path, "r+b") as file:
            file.write(json.dumps(content).ljust(_SIZE - 1).encode() + b"\n")


def _highest(folder: Path, name: str) -> int:
    """The number of the latest claim, 0 if there is none."""
    numbers = (path.suffix[1:] for path in folder.glob(f"{name}.*") if path.stem == name)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _parse(content: bytes) -> dict[str, Any]:
    """The content of a claim; empty if only a part of it has been written."""
    try:
        return json.loads(content)
    except ValueError:
        return {}


def _machine() -> str | None:
    """Names the scope of process ids: this boot of this host, and Linux's namespace of ids.

    None on other systems, where only the host's name is known, which two hosts may share.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
