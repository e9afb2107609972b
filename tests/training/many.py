"""Commands with small networks in several processes of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(
    *arguments: str,
    processes: int = 1,
    devices: int = 1,
    of_second: tuple[str, ...] = (),
    before_second: tuple[str, ...] = (),
    **environment: str,
) -> list:
    """Starts `sassn` in so many processes, each with so many devices.

    Args:
      *arguments: of the command.
      processes: how many.
      devices: of each process.
      of_second: further arguments of the process with number 1.
      before_second: a command that starts this process, whose last arguments are the process's.
      **environment: further variables.
    """
    address = f"127.0.0.1:{free_port()}"
    started = []
    for number in range(processes):
        several = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(number),
        }
        started.append(
            subprocess.Popen(
                [
                    *(before_second if number == 1 else ()),
                    sys.executable,
                    "-m",
                    "tests.training.tiny_command",
                    *arguments,
                    *(of_second if number == 1 else ()),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "JAX_NUM_CPU_DEVICES": str(devices),
                    **(several if processes > 1 else {}),
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finish(started: list, limit: float = LIMIT) -> list[tuple[int, str, str]]:
    """Waits for processes, and returns their exit codes and what they wrote."""
    try:
        ended = [process.communicate(timeout=limit) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, ended, strict=True)]


def run(*arguments: str, **options) -> list[tuple[int, str, str]]:
    """Runs `sassn` as `start` does, and checks that it succeeds."""
    ended = finish(start(*arguments, **options))
    for code, _, errors in ended:
        assert code == 0, errors[-3000:]
    return ended


def read_state(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint by dotted name, read by Orbax alone."""
    reader = ocp.PyTreeCheckpointer()
    folder = workdir.absolute() / "checkpoints" / str(step) / "state"
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        reader.metadata(folder).item_metadata.tree,
    )
    return dict(named(reader.restore(folder, restore_args=as_numpy)))


def named(tree) -> Iterator[tuple[str, np.ndarray]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="."), np.asarray(leaf)


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Returns the largest relative difference (of norms) of two arrays of the same name."""
    assert a.keys() == b.keys()
    return max(
        float(np.linalg.norm(a[name] - b[name]) / max(np.linalg.norm(a[name]), 1e-30)) for name in a
    )
