"""What the devices that run a compiled program send each other."""

import dataclasses
from collections.abc import Iterable
from typing import Literal, cast, get_args

from experiments.described_gpu import hlo
from experiments.described_gpu.hlo import Module

Kind = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"]


@dataclasses.dataclass(frozen=True)
class Collective:
    """An exchange within groups of devices, such as the group of all.

    Attributes:
      kind: which one.
      times: how often the program does it.
      sent: bytes that each device sends to the next one of a ring, all times together.
      sizes: bytes of each array that a device has afterwards.
      origin: the path of the operation in the traced program.
    """

    kind: Kind
    times: int
    sent: int
    sizes: tuple[int, ...]
    origin: str


@dataclasses.dataclass(frozen=True)
class Sent:
    """What each device sends in all exchanges of a kind.

    Attributes:
      times: number of exchanges.
      size: bytes.
    """

    times: int
    size: int


def find(module: Module, devices: int) -> list[Collective]:
    """Returns the collectives of a program, in its order; a loop of unknown length counts once."""
    found = []
    for x, others, times in hlo.run_by(module, module.entry):
        kind = x.operation.removesuffix("-start")
        if kind in get_args(Kind):
            operands = sum(others[name].size for name in x.operands)
            group = x.group or devices
            sent = round(times * operands * _share_sent(cast(Kind, kind), group))
            # What starts one may have its operands in its result too, before what it will have.
            sizes = x.sizes[-len(x.operands) :]
            found.append(Collective(cast(Kind, kind), times, sent, sizes, x.origin))
    return found


def by_kind(collectives: Iterable[Collective]) -> dict[Kind, Sent]:
    """Returns the sums of collectives, by their kind."""
    sums: dict[Kind, Sent] = {}
    for x in collectives:
        before = sums.get(x.kind, Sent(0, 0))
        sums[x.kind] = Sent(before.times + x.times, before.size + x.sent)
    return sums


def _share_sent(kind: Kind, devices: int) -> float:
    """Returns what each device sends in a ring, in units of its operand's bytes."""
    match kind:
        case "all-reduce":
            return 2 * (devices - 1) / devices
        case "all-gather":
            return devices - 1
        case "reduce-scatter" | "all-to-all":
            return (devices - 1) / devices
        case "collective-permute":
            return 1
