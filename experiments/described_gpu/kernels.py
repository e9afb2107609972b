"""What the compilers' texts say of each kernel: XLA's launch plan, its PTX, and ptxas's report."""

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
      name: in the program.
      threads: of one block.
      registers: of a thread.
      spills: bytes that a thread writes to and reads from memory because registers ran out.
      shared_memory: bytes of a block; that which it asks for at its launch included.
      tensor_instructions: how many instructions of each kind multiply on tensor cores, in the
        kernel's text: those in a loop count once.
      multiply_adds: how many do so on the ordinary float32 units (`fma.rn.f32`), likewise.
      remarks: what ptxas says that the kernel loses speed by.
    """

    name: str
    threads: int
    registers: int
    spills: int
    shared_memory: int
    tensor_instructions: Mapping[str, int]
    multiply_adds: int
    remarks: tuple[str, ...]


_TENSOR = re.compile(r"\b(wgmma)\.mma_async\b|\b(mma\.sync)\b")
_FMA = re.compile(r"\bfma\.rn(?:\.ftz)?\.f32\b")
_LAUNCH = re.compile(r"(\S+) grid: \[[^]]*\] threads: \[[^]]*\]\s+shared_memory: (\d+) bytes")
_REMARK = r"Potential Performance Loss: (.*?) in the function '{}'"


def read(dump: Path, ptxas: Path) -> tuple[Kernel, ...]:
    """Reads what XLA wrote of a program that it compiled with `xla_dump_to`."""
    launches: dict[str, int] = {}
    for path in dump.glob("*thunk_sequence.txt"):
        launches |= parse_launches(path.read_text())
    kernels: list[Kernel] = []
    command: list[str | Path]
    for path in sorted(dump.glob("*.ptx")):
        ptx = path.read_text()
        target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
        if target:  # else there is nothing in it
            command = [
                str(ptxas),
                "-v",
                f"-arch={target[1]}",
                str(path),
                "-o",
                f"{dump}/kernel.cubin",
            ]
            report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            kernels += parse_kernels(ptx, report, launches)
    return tuple(kernels)


def parse_launches(thunks: str) -> dict[str, int]:
    """Reads XLA's list of a program's steps: what shared memory each kernel asks for, in bytes.

    Triton's kernels ask at their launch for all that they use, and ptxas knows of none of it.
    """
    return {name: int(size) for name, size in _LAUNCH.findall(thunks)}


def parse_kernels(ptx: str, report: str, launches: Mapping[str, int]) -> list[Kernel]:
    """Puts together what is known of each kernel of one PTX file.

    Args:
      ptx: the file's text.
      report: what `ptxas -v` says of it.
      launches: from `parse_launches`.

    Raises:
      ValueError, KeyError: something that is asked of a kernel is in none of the texts.
    """
    bodies = dict(re.findall(r"\.entry (\w+)\((.*?)(?=\.entry |\Z)", ptx, re.DOTALL))
    reports = re.split(r"Compiling entry function '(\w+)'", report)
    kernels = []
    for name, text in zip(reports[1::2], reports[2::2], strict=True):
        body = bodies[name]
        threads = re.search(r"\.reqntid (\d+)(?:, (\d+))?(?:, (\d+))?", body)
        assert threads, f"{name}: no .reqntid"
        kernels.append(
            Kernel(
                name=name,
                threads=math.prod(int(x or 1) for x in threads.groups()),
                registers=_number(r"Used (\d+) registers", text),
                spills=_number(r"(\d+) bytes spill stores", text)
                + _number(r"(\d+) bytes spill loads", text),
                shared_memory=launches[name] + _number(r"(\d+) bytes smem", text, missing=0),
                tensor_instructions=dict(
                    collections.Counter(a or b for a, b in _TENSOR.findall(body))
                ),
                multiply_adds=len(_FMA.findall(body)),
                remarks=tuple(re.findall(_REMARK.format(name), report)),
            )
        )
    return kernels


def _number(pattern: str, text: str, missing: int | None = None) -> int:
    """The number in a report; a report without it is not one that this module can read."""
    found = re.search(pattern, text)
    if found:
        return int(found[1])
    if missing is None:
        raise ValueError(f"ptxas does not report {pattern!r}: {text!r}")
    return missing
