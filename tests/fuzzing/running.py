"""Reads changed files one after the other, in a process with limits on memory and time.

    python -m tests.fuzzing.running --count=10000            every reader
    python -m tests.fuzzing.running photo --only=1234        one file of one reader

It prints each kind of failure once, with the command that repeats it, and ends with exit code 1 if
there is any. A file that takes too long ends the process with a traceback, after its number.
"""

import argparse
import collections
import faulthandler
import importlib.util
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from sassn_jax.errors import InputError
from tests.fuzzing.readers import READERS, Reader

MEMORY = 2**31  # bytes that reading may take
SECONDS = 10.0  # that one file may take
LONGEST = 3000  # characters of a message
EXPECTED = "one error"


def limit_memory() -> None:
    """Limits the memory of this process to what it has now and `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(name: str, numbers: range, folder: Path) -> tuple[int, dict[str, list[int]]]:
    """Reads the changed files with some numbers.

    Returns:
      How many of them were read without an error; and the numbers of the files by what went wrong.
    """
    reader = READERS[name]
    reader.prepare(folder)
    for path in reader.seeds(folder):
        reader.read(path)
    seeds = [path.read_bytes() for path in reader.seeds(folder)]
    limit_memory()
    readable, failures = 0, collections.defaultdict(list)
    for number in numbers:
        outcome = _outcome(reader, name, number, seeds, folder)
        readable += outcome == ""
        if outcome:
            failures[outcome].append(number)
    return readable, dict(failures)


def _outcome(reader: Reader, name: str, number: int, seeds: list[bytes], folder: Path) -> str:
    """Returns what went wrong with one file: nothing for success, `EXPECTED` for an InputError."""
    rng = random.Random(f"{name} {number}")
    which = number % len(seeds)
    path = reader.seeds(folder)[which]
    path.write_bytes(reader.mutate(seeds[which], rng))
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        reader.read(path)
        return ""
    except InputError as error:
        message = str(error)
        if "\n" in message or not message or len(message) > LONGEST:
            return f"a message of {len(message.splitlines())} lines, {len(message)} characters"
        if "MemoryError" in message or "Unable to allocate" in message:
            return f"memory: {message[-100:]}"
        return EXPECTED
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        own = [x for x in last if "sassn_jax" in x.filename] or last
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        return f"{type(error).__name__} at {place}: {error!s:.80}"
    finally:
        faulthandler.cancel_dump_traceback_later()
        path.write_bytes(seeds[which])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[[], *READERS], help="all without any")
    parser.add_argument("--count", type=int, default=100, help="files for each reader")
    parser.add_argument("--only", type=int, help="the number of one file")
    chosen = parser.parse_args()
    warnings.simplefilter("error")
    # Of pycocotools with NumPy 2, where a mask is decoded.
    warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword")
    has_failed = False
    for name in chosen.readers or READERS:
        needed = READERS[name].needs
        if needed and importlib.util.find_spec(needed) is None:
            print(f"{name}: left out, since {needed} is not installed", flush=True)
            continue
        numbers = (
            range(chosen.count) if chosen.only is None else range(chosen.only, chosen.only + 1)
        )
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            readable, failures = fuzz(name, numbers, Path(folder))
        failures.pop(EXPECTED, None)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{name}: {len(numbers)} files in {seconds:.1f} s, {readable} of them readable, "
            f"{sum(map(len, failures.values()))} failures; peak {peak:.2f} GiB",
            flush=True,
        )
        for what, found in sorted(failures.items()):
            print(f"  {len(found)} times {what}; --only={found[0]}", flush=True)
        has_failed = has_failed or bool(failures)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
