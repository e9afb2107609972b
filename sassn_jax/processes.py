"""The processes of one run, on one host or on several, as JAX connects them."""

import collections
import contextlib
import hashlib
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int64
from orbax.checkpoint import multihost

from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError, StoppedError, TrainingError, UnfitError

WAIT = 300  # seconds for the others to come, as in JAX
DELAY = 3  # calls after which the answer of an `Agreement` comes
LONGEST_WAIT = 24 * 3600  # seconds that one process may work alone, as in preparing a dataset
SILENCE = 30  # seconds without a sign of life, after which JAX takes a process for dead
ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# What the texts of errors have in common by which JAX tells that it cannot reach a process.
LOST = ("gloo", "nccl", "coordination", "barrier")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Runs a block as one of several processes, where it was started as one.

    That is where the environment names them by `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID`; or under SLURM, Open MPI or an indexed Kubernetes job, with more than one
    process, as JAX detects them. `JAX_NUM_PROCESSES=1` detects none. Call it before JAX uses a
    device. Elsewhere it checks the devices alone.

    All but the first write nothing on standard output. A process must leave at once after an error
    (`os._exit`), since Python's own end would wait for the others: commands do so after those whose
    message is for a user, and this function after any other.

    Raises:
      InputError: if the environment names the processes wrongly, or JAX cannot use its devices.
      TrainingError: if another process has ended within the block.
    """
    is_one_of_several = _join()
    check_platform()
    if not is_one_of_several:
        yield
        return
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nothing,
            contextlib.redirect_stdout(sys.stdout if is_first() else nothing),
        ):
            yield
    except StoppedError:  # which is so in all processes
        jax.distributed.shutdown()
        raise
    except (InputError, TrainingError, OSError):
        raise
    except Exception as error:
        if is_loss(error):
            raise TrainingError(
                "another process of this run has ended or cannot be reached; its own messages say "
                "why. Start all of them again, and training goes on from its last checkpoint"
            ) from error
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    jax.distributed.shutdown()


def is_loss(error: Exception) -> bool:
    """Whether an error says that another process cannot be reached."""
    return any(word in str(error).lower() for word in LOST)


def is_first() -> bool:
    """Whether this is the process that writes and prints; it is, if it is alone."""
    return jax.process_index() == 0


def share(count: int) -> range:
    """Returns which of `count` things this process takes: a part in order, the first one's first.

    The parts differ in length by one at most.
    """
    parts, part = jax.process_count(), jax.process_index()
    return range(count * part // parts, count * (part + 1) // parts)


def wait(name: str) -> None:
    """Returns when all processes have called this as often as this one, with this name."""
    if jax.process_count() > 1:
        multihost.get_barrier_sync_fn()(key=name, timeout_ms=LONGEST_WAIT * 1000)


@contextlib.contextmanager
def first_before_others(name: str) -> Iterator[None]:
    """Runs a block in the first process, and then in all others; for the name, see `wait`."""
    if not is_first():
        wait(name)
    yield
    if is_first():
        wait(name)


def total(counts: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """Returns the sum of the counts of all processes, exactly."""
    if jax.process_count() == 1:
        return counts
    # As bytes: JAX would make 32 bits of an integer's 64.
    gathered = multihost_utils.process_allgather(np.ascontiguousarray(counts).view(np.uint8))
    return np.asarray(gathered).view(np.int64).sum(0)


def union(indices: Collection[int], count: int) -> list[int]:
    """Returns in order which of the numbers below `count` are among any process's indices."""
    marks = np.zeros(count, np.int64)
    marks[list(indices)] = 1
    return np.flatnonzero(total(marks)).tolist()


def everywhere(mine: bool) -> bool:
    """Tells whether all processes say yes, of which this one says `mine`."""
    return int(total(np.array([mine], np.int64))[0]) == jax.process_count()


class Agreement:
    """A question that all processes are asked again and again: whether any of them says yes."""

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self._asked: collections.deque[jax.Array] = collections.deque()
        mesh = Mesh(np.array(jax.devices()), ("data",))
        self._split = NamedSharding(mesh, PartitionSpec("data"))
        self._any = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def any(self, mine: bool) -> bool:
        """Tells whether any process said yes `DELAY` calls ago.

        All processes get the same answer from the same call, so all must call this equally often.
        No call waits for a step that the devices still compute, as long as at most `DELAY` steps
        wait. A process that is alone gets its own answer back at once.

        Args:
          mine: what this process says.
        """
        if jax.process_count() == 1:
            return mine
        flags = np.full(jax.local_device_count(), mine)
        self._asked.append(self._any(jax.make_array_from_process_local_data(self._split, flags)))
        return len(self._asked) > DELAY and bool(self._asked.popleft())


def check_alike(texts: Mapping[str, str]) -> None:
    """Checks that all processes were given the same.

    Args:
      texts: what is compared, by the name that a message gives it. The processes must have the same
        names.

    Raises:
      UnfitError: naming what differs.
    """
    if jax.process_count() == 1:
        return
    digests = [list(hashlib.sha256(text.encode()).digest()) for text in texts.values()]
    of_all = np.asarray(multihost_utils.process_allgather(np.array(digests, np.uint8)))
    differing = (of_all != of_all[0]).any(axis=-1)  # [process, text]
    for name, by_process in zip(texts, differing.T, strict=True):
        if by_process.any():
            raise UnfitError(
                f"process {int(by_process.argmax())} of {jax.process_count()}: has another {name} "
                "than process 0; start all processes with the same command, on the same data and "
                f"with the same packages. For runs of their own, set {COUNT}=1"
            )


def _join() -> bool:
    """Connects this process with the others; returns whether there are any."""
    explicit = {name: os.environ.get(name, "") for name in (ADDRESS, COUNT, NUMBER)}
    if explicit[COUNT] == "1":
        return False
    arguments: dict[str, Any] = {}
    if explicit[COUNT] or explicit[NUMBER] or (explicit[ADDRESS] and not _is_in_cluster()):
        arguments = {
            "coordinator_address": explicit[ADDRESS],
            "num_processes": _number(COUNT, explicit, 1),
            "process_id": _number(NUMBER, explicit, 0),
            "cluster_detection_method": "deactivate",
        }
        host, _, port = explicit[ADDRESS].rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise _wrong(ADDRESS, explicit, "HOST:PORT of the process with number 0")
        if arguments["process_id"] >= arguments["num_processes"]:
            raise _wrong(NUMBER, explicit, f"less than {COUNT}={explicit[COUNT]}")
    elif not _is_in_cluster():
        return False
    # JAX would hear SIGTERM itself, and leave nothing of it to the loop.
    jax.config.update("jax_enable_preemption_service", False)
    timer = threading.Timer(WAIT, _give_up, [explicit[ADDRESS]])
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=2 * WAIT,  # at its end JAX would abort the process
            heartbeat_timeout_seconds=SILENCE,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UnfitError(
            f"the processes cannot be connected ({' '.join(str(error).split())}); "
            "docs/many-machines.md says how to start them"
        ) from error
    finally:
        timer.cancel()
    return True


def _number(name: str, given: Mapping[str, str], least: int) -> int:
    if not given[name].isdecimal() or int(given[name]) < least:
        raise _wrong(name, given, f"a whole number of at least {least}")
    return int(given[name])


def _wrong(name: str, given: Mapping[str, str], expected: str) -> InputError:
    came = f"{name}={given[name]!r}" if given[name] else f"{name}: not set"
    return InputError(
        f"{came}; expected {expected}. A run of several processes needs {ADDRESS}, {COUNT} and "
        f"{NUMBER}, unless a cluster gives them; a run of one needs none"
    )


def _is_in_cluster() -> bool:
    """Whether JAX detects more than one process by itself."""
    for sign, count in (
        ("SLURM_STEP_NODELIST", "SLURM_NTASKS"),
        ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE"),
    ):
        if sign in os.environ:
            return os.environ.get(count, "1") != "1"
    in_job = "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
    return in_job and importlib.util.find_spec("kubernetes") is not None


def _give_up(address: str) -> None:
    """Ends the process with one line: JAX would wait on, and abort with a page of text."""
    at = f" at {address}" if address else ""
    print(
        f"the other processes of this run did not come{at} within {WAIT} seconds; all must be "
        "started at about the same time, and reach the host and port of process 0",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
