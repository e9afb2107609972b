"""Facts about each kernel, read from XLA's launch plan, its PTX and ptxas's report."""

import collections
import dataclasses
import math
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel of a compiled program.

    Attributes:
      name: its name in the program.
      threads: threads in a block.
      registers: registers of a thread.
      spills: bytes that a thread writes to and reads from memory because registers ran out.
      shared_memory: bytes of a block, including those that it asks for at its launch.
      tensor_instructions: number of instructions in the kernel's text that multiply on tensor
        cores, by kind. An instruction in a loop counts once.
      multiply_adds: number of instructions that multiply on the ordinary float32 units
        (`fma.rn.f32`), counted in the same way.
      remarks: reasons that ptxas gives for a loss of speed.
    """

    name: str
    threads: int
    registers: int
    spills: int
    shared_memory: int
    tensor_instructions: Mapping[str, int]
    multiply_adds: int
    remarks: tuple[str, ...]


_TENSOR = re.compile(r"\b(?:wgmma(?=\.mma_async\b)|mma\.sync\b)")
_SHARED = re.compile(r"(\d+) bytes smem")
_FMA = re.compile(r"\bfma\.rn(?:\.ftz)?\.f32\b")
_LAUNCH = re.compile(r"(\S+) grid: \[[^]]*\] threads: \[[^]]*\]\s+shared_memory: (\d+) bytes")
_REMARK = r"Potential Performance Loss: (.*?) in the function '{}'"


def read(dump: Path, ptxas: Path) -> tuple[Kernel, ...]:
    """Reads the kernels of a program that XLA compiled with `xla_dump_to`."""
    thunks = (path.read_text() for path in dump.glob("*thunk_sequence.txt"))
    launches = parse_launches("\n".join(thunks))
    kernels: list[Kernel] = []
    for path in sorted(dump.glob("*.ptx")):
        ptx = path.read_text()
        target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
        if target:  # an empty file has none
            options = ("-v", f"-arch={target[1]}", "-o", dump / "kernel.cubin")
            report = subprocess.run(
                [ptxas, *options, path], capture_output=True, text=True, check=True
            )
            kernels += parse_kernels(ptx, report.stderr, launches)
    return tuple(kernels)


def parse_launches(thunks: str) -> dict[str, int]:
    """Returns the bytes of shared memory that each kernel asks for at its launch.

    They stand in XLA's list of a program's steps. Triton's kernels ask for all of theirs so, and
    ptxas does not know of it.
    """
    return {name: int(size) for name, size in _LAUNCH.findall(thunks)}


def parse_kernels(ptx: str, report: str, launches: Mapping[str, int]) -> list[Kernel]:
    """Returns the kernels of one PTX file.

    Args:
      ptx: the file's text.
      report: the output of `ptxas -v` for it.
      launches: from `parse_launches`.

    Raises:
      ValueError, KeyError: the texts lack a fact about a kernel.
    """
    bodies = dict(re.findall(r"\.entry (\w+)\((.*?)(?=\.entry |\Z)", ptx, re.DOTALL))
    reports = re.split(r"Compiling entry function '(\w+)'", report)
    kernels = []
    for name, text in zip(reports[1::2], reports[2::2], strict=True):
        body = bodies[name]
        threads = re.search(r"\.reqntid (\d+)(?:, (\d+))?(?:, (\d+))?", body)
        if not threads:
            raise ValueError(f"{name}: no .reqntid in its PTX")
        kernels.append(
            Kernel(
                name=name,
                threads=math.prod(int(x or 1) for x in threads.groups()),
                registers=_sum(r"Used (\d+) registers", text),
                spills=_sum(r"(\d+) bytes spill stores, (\d+) bytes spill loads", text),
                shared_memory=launches[name] + sum(map(int, _SHARED.findall(text))),
                tensor_instructions=dict(collections.Counter(_TENSOR.findall(body))),
                multiply_adds=len(_FMA.findall(body)),
                remarks=tuple(re.findall(_REMARK.format(name), report)),
            )
        )
    return kernels


def _sum(pattern: str, text: str) -> int:
    """Returns the sum of the numbers that a pattern finds in ptxas's report."""
    found = re.search(pattern, text)
    if not found:
        raise ValueError(f"ptxas does not report {pattern!r}: {text!r}")
    return sum(map(int, found.groups()))
