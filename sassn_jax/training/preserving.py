"""Which checkpoints are kept."""

from collections.abc import Sequence
from typing import Any

from sassn_jax.training.record import Record


class Preserved:
    """Tells Orbax which checkpoints to keep; it deletes the others once a new one is written."""

    def __init__(self, keep: int, records: dict[int, Record]):
        """Keeps the latest `keep`, the best, and the last healthy one, by their records."""
        self._keep, self._records = keep, records

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> Sequence[bool]:
        """Returns which of the checkpoints are kept."""
        steps = sorted(checkpoint.step for checkpoint in checkpoints)
        chosen = (best_of(self._records, steps), last_healthy(self._records, steps))
        kept = {*steps[-self._keep :], *chosen}
        return [checkpoint.step in kept for checkpoint in checkpoints]


def best_of(records: dict[int, Record], steps: Sequence[int]) -> int | None:
    """Returns the step with the highest mIoU, the latest of several; None where none has one."""
    scored = [
        (miou, step)
        for step in steps
        if step in records and (miou := records[step].miou) is not None and miou == miou
    ]
    return max(scored)[1] if scored else None


def last_healthy(records: dict[int, Record], steps: Sequence[int]) -> int | None:
    """Returns the latest step whose record names no fault; None if there is none."""
    healthy = [step for step in steps if step in records and not records[step].fault]
    return max(healthy, default=None)
