"""Bytes that a compiled program moves and keeps, read from XLA's text of it."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# Operations that make no array, or one that lies within another.
_FREE = {
    "after-all",
    "bitcast",
    "constant",
    "get-tuple-element",
    "optimization-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
_CALLS = {"async-start", "call", "conditional", "while"}
_SLICES = {"dynamic-slice", "gather", "slice"}
_UPDATE = "dynamic-update-slice"

_TUPLE = r"\((?:[^()]|\([^()]*\))*\)"
_INSTRUCTION = re.compile(
    rf"^\s+(ROOT )?%?([\w.-]+) = ({_TUPLE}|\S+) ([\w-]+)\(((?:[^()]|\([^()]*\))*)\)(.*)$"
)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LISTED_GROUPS = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_GROUPS_OF_MESH = re.compile(r"replica_groups=mesh\[([^\]]+)\][^{]*\{([^}]*)\}")
_ORIGIN = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_LIVE = re.compile(r"^\s+(\S+?)\{[\d, ]*\}: (\d+) bytes")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
      name: unique in the program.
      operation: `fusion`, `custom-call`, `while`, ...
      sizes: bytes of each array in its result.
      operands: names of other instructions.
      called: name of the computation that it runs, "" if none.
      trips: number of times that it runs it: 1, except in a loop of known length.
      group: of an exchange between devices: how many take part in it, 0 for all of them.
      origin: the path of the operation in the traced program, such as `jit(step)/.../conv1`.
      is_root: whether its result is that of its computation.
    """

    name: str
    operation: str
    sizes: tuple[int, ...]
    operands: tuple[str, ...]
    called: str
    trips: int
    group: int
    origin: str
    is_root: bool

    @property
    def size(self) -> int:
        """Bytes of its result."""
        return sum(self.sizes)


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program: the name of each computation, and its instructions by name, in order."""

    computations: Mapping[str, Mapping[str, Instruction]]
    entry: str


def parse(text: str) -> Module:
    """Reads the text that `jax.stages.Compiled.as_text` returns."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            root, name, result, operation, operands, rest = found.groups()
            called, trips, origin = (x.search(rest) for x in (_CALLED, _TRIPS, _ORIGIN))
            current[name] = Instruction(
                name=name,
                operation=operation,
                sizes=tuple(map(_array_size, _ARRAY.findall(result))),
                operands=tuple(re.findall(r"%([\w.-]+)", operands)),
                called=called[1] if called else "",
                trips=int(trips[1]) if trips else 1,
                group=_group_size(rest),
                origin=origin[1] if origin else "",
                is_root=bool(root),
            )
    return Module(computations, entry)


def _group_size(attributes: str) -> int:
    """Returns the size of the groups of an exchange; 0 if it has none.

    They are written in one of three ways: `{{0,1},{2,3}}`, `[2,4]<=[8]` for two groups of four, and
    `mesh['a'=2,'b'=8] {'a','b':(1)4}` for groups along axes of a mesh, here 2 times 4 of the 8.
    """
    if found := _LISTED_GROUPS.search(attributes):
        return len(found[1].split(","))
    if found := _COUNTED_GROUPS.search(attributes):
        return int(found[1])
    if found := _GROUPS_OF_MESH.search(attributes):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found[1]))
        along = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", found[2])
        return math.prod(int(part or sizes[axis]) for axis, part in along)
    return 0


def _array_size(found: tuple[str, str, str]) -> int:
    kind, bits, shape = found
    if kind == "token":
        return 0
    element = int(bits or 8) // 8  # that of `pred` takes a byte
    return element * math.prod(map(int, filter(None, shape.split(","))))


def traffic(module: Module, cache: int) -> int:
    """Returns the fewest bytes that a program can read from device memory and write to it.

    A kernel reads its operands, or the parts of them that it slices, and writes its result. At best
    the cache is full of what a kernel is about to read, and then of what it has written. All beyond
    the cache's size must come from device memory or go there. A loop of unknown length counts once.

    Args:
      module: the compiled program.
      cache: bytes that the last cache before device memory holds (the L2). With 0 the result is all
        that kernels read and write.
    """
    return sum(
        times * max(0, size - cache)
        for x, others, times in run_by(module, module.entry)
        for size in _moved(module, others, x)
    )


def run_by(
    module: Module, computation: str, times: int = 1
) -> Iterator[tuple[Instruction, Mapping[str, Instruction], int]]:
    """Yields each instruction that a computation runs, its computation, and how often it is run."""
    instructions = module.computations[computation]
    for x in instructions.values():
        if x.operation in _CALLS:
            yield from run_by(module, x.called, times * x.trips)
        else:
            yield x, instructions, times


def _moved(
    module: Module, instructions: Mapping[str, Instruction], instruction: Instruction
) -> tuple[int, int]:
    """Returns the bytes that a kernel reads, and those that it writes."""
    operation = instruction.operation
    if operation in _FREE or operation.endswith("-done"):
        return 0, 0
    if operation == "fusion":
        fused = module.computations[instruction.called]
        root = next(x for x in fused.values() if x.is_root)
        read = sum(_read(fused, x) for x in fused.values() if x.operation == "parameter")
        return read, _written(fused, root)
    operands = [instructions[name] for name in dict.fromkeys(instruction.operands)]
    if operation in _SLICES:
        return min(instruction.size, operands[0].size), instruction.size
    if operation == _UPDATE:
        return operands[1].size, operands[1].size
    read = sum(x.size for x in operands)
    if operation.endswith("-start"):  # its result includes the operand
        return read, read
    written = instruction.sizes
    if operation == "custom-call" and len(written) > 1:
        written = written[:-1]  # without the library's workspace
    return read, sum(written)


def _read(fused: Mapping[str, Instruction], source: Instruction) -> int:
    """Returns the bytes that a fused kernel needs of an array."""
    total = 0
    for user in fused.values():
        if source.name not in user.operands:
            continue
        if user.operation == "bitcast":
            total += _read(fused, user)
        elif user.operation in _SLICES and user.operands[0] == source.name:
            total += user.size
        elif user.operation != _UPDATE or user.operands[0] != source.name:
            return source.size
    return min(total, source.size)


def _written(fused: Mapping[str, Instruction], result: Instruction) -> int:
    """Returns the bytes that a fused kernel writes: its result, or the part that it updates."""
    if result.operation == "tuple":
        return sum(_written(fused, fused[name]) for name in result.operands)
    if result.operation == "bitcast":
        return _written(fused, fused[result.operands[0]])
    if result.operation == _UPDATE:
        return fused[result.operands[1]].size
    return result.size


def count_recomputed(module: Module) -> int:
    """Returns how many results XLA computes twice by its own choice, to save memory.

    It copies the operation of such a result and puts `.remat` into the copy's name.
    """
    return sum(
        ".remat" in x.name and x.operation not in _FREE
        for x in module.computations[module.entry].values()
    )


def live_at_peak(module: Module, dump: Path) -> dict[str, int]:
    """Returns the bytes in use at the peak of memory, by the origin of the operation.

    The program's arguments are left out.

    Args:
      module: the compiled program.
      dump: the folder that XLA dumped the program into.
    """
    (path,) = dump.glob("*-live-range.txt")
    _, _, report = path.read_text().partition("(peak):\n")
    known = {x.name: x for part in module.computations.values() for x in part.values()}
    live: dict[str, int] = {}
    for line in report.splitlines():
        found = _LIVE.match(line)
        if not found:
            break
        instruction = known.get(found[1])
        if instruction is None or instruction.operation != "parameter":
            origin = instruction.origin if instruction else ""
            live[origin] = live.get(origin, 0) + int(found[2])
    return live
