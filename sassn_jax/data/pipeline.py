"""Training batches: shuffled, transformed and prefetched, from any step on."""

import contextlib
import json
import sys
import weakref
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from sassn_jax.data.batch import Batch
from sassn_jax.data.dataset import Source
from sassn_jax.data.skipping import Reader, Skipped, Transform, stack
from sassn_jax.data.workers import (
    check_shared_memory,
    death_of_worker,
    end_with_parent,
    start_tracker,
    without_signals,
)

# Two threads suffice, since NumPy and the decoders release the GIL; more would take cores from a
# training step on the CPU.
_THREADS = 2
_BUFFER = 4  # batches that are prepared ahead of the step


def train_batches(
    labeled: Source,
    unlabeled: Source | None,
    *,
    transform: Transform,
    batch_size: int,
    seed: int,
    workers: int = 0,
    unlabeled_from: int = 0,
    max_unreadable: float = 0.0,
    part: int = 0,
    parts: int = 1,
) -> "BatchIterator":
    """Returns an endless iterator over training batches.

    The batch of a step depends only on the sources, the transform, the seed and the step, not on
    `workers` or on what was read before. Labelled and unlabelled images are shuffled anew in every
    epoch. A batch may reach from one epoch into the next, so all batches are full. Another image
    takes the place of one that cannot be read, see `Reader`.

    Args:
      labeled: images with masks.
      unlabeled: images whose masks are not used; None or empty if there are none.
      transform: makes the arrays of one image from an example and a random generator.
      batch_size: labelled images in a batch, and unlabelled ones.
      seed: of the order and the transforms, in [0, 2**32).
      workers: processes that prepare batches; 0 for threads of this process.
      unlabeled_from: the first step whose batch has unlabelled images.
      max_unreadable: the largest share of the labelled and of the unlabelled images that may be
        skipped at one place of a batch; who counts over all batches is `skipping.Tally`.
      part: the part of each batch that this iterator gives, counted from 0.
      parts: into which each batch is cut, in order and evenly; they divide `batch_size`.

    Returns:
      An iterator over batches, see `Batch`. An InputError of `transform`, or for more images that
      cannot be read than may be, comes out of it unchanged. It raises an UnfitError if a worker
      dies, or if there is too little shared memory for them.

    Raises:
      ValueError: if there is no labelled image.
    """
    if not len(labeled):
        raise ValueError("labeled: expected at least one image")
    unlabeled = unlabeled if unlabeled is not None and len(unlabeled) else None
    # A seed for each, so that the labelled batches do not depend on the unlabelled images.
    seeds = np.random.SeedSequence(seed).generate_state(2)

    def stream(source: Source, kind: str, stream_seed: int) -> grain.MapDataset:
        places = grain.MapDataset.range(len(source)).seed(stream_seed).shuffle().repeat()
        reader = Reader(source, transform, kind, max_unreadable)
        return places.random_map(reader).batch(batch_size // parts, batch_fn=stack)

    batches = _Batches(
        stream(labeled, "labeled", int(seeds[0])),
        stream(unlabeled, "unlabeled", int(seeds[1])) if unlabeled else None,
        unlabeled_from,
        part,
        parts,
    )
    return BatchIterator(grain.MapDataset.source(batches), workers, unlabeled_from)


class _Delivery(NamedTuple):
    """A batch, and the images that were skipped when it was made."""

    batch: Batch[np.ndarray]
    skipped: tuple[Skipped, ...]


class _Batches:
    """Random access to one part of the batch of each step.

    The streams are of parts. Those of a step follow each other, so the parts of all processes are
    together the batch that a single process would load, in the same order.
    """

    def __init__(
        self,
        labeled: grain.MapDataset,
        unlabeled: grain.MapDataset | None,
        unlabeled_from: int,
        part: int,
        parts: int,
    ):
        self._labeled = labeled
        self._unlabeled = unlabeled
        self._unlabeled_from = unlabeled_from
        self._part, self._parts = part, parts

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> _Delivery:
        place = step * self._parts + self._part
        half, skipped = self._labeled[place]
        batch: Batch[np.ndarray] = {"labeled": half}
        if self._unlabeled is not None and step >= self._unlabeled_from:
            batch["unlabeled"], more = self._unlabeled[place]
            skipped += more
        return _Delivery(batch, skipped)


class BatchIterator:
    """Iterates over batches and prefetches them. Its state is the number of the next batch.

    Grain's own iterator state depends on the number of processes. This iterator restores none of
    it: it starts a new loader at the next step. Its `get_state` and `set_state` are as those of
    Grain's iterators, so that Grain's own `CheckpointSave` and `CheckpointRestore` take it too.
    """

    def __init__(self, batches: grain.MapDataset, workers: int, unlabeled_from: int):
        self._batches = batches
        self._workers = workers
        self._unlabeled_from = unlabeled_from
        self._step = 0
        self._has_given = False  # a batch of what is running
        self._skipped: list[Skipped] = []
        self._running: list[grain.DatasetIterator] = []  # one, or none
        # This also runs before Python exits. Grain's iterators print errors if Python ends them.
        weakref.finalize(self, _close_all, self._running)

    def __iter__(self) -> "BatchIterator":
        return self

    def __getitem__(self, step: int) -> Batch[np.ndarray]:
        """Makes the batch of a step in this thread."""
        return self._batches[step].batch

    def __next__(self) -> Batch[np.ndarray]:
        self.start_prefetch()
        # Grain starts the processes with the first batch.
        alone = contextlib.nullcontext() if self._has_given else without_signals()
        try:
            with alone:
                batch, skipped = next(self._running[0])
        except RuntimeError as error:
            raise death_of_worker(error, self._workers) or error from None
        self._has_given = True
        self._step += 1
        self._skipped += skipped
        return batch

    def take_skipped(self) -> tuple[Skipped, ...]:
        """Returns the images that were skipped for the batches since the last call."""
        skipped, self._skipped = tuple(self._skipped), []
        return skipped

    def start_prefetch(self) -> None:
        """Starts to prepare batches, unless that has begun."""
        if self._running:
            return
        dataset = self._batches.slice(slice(self._step, None)).to_iter_dataset(
            grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_BUFFER)
        )
        if self._workers:
            start_tracker()
            largest = self[max(self._step, self._unlabeled_from)]
            # Of each worker: in its queue, in that of a thread here, and one in the hands of each.
            check_shared_memory(largest, self._workers, self._workers * 2 * (_BUFFER + 1))
            if not flags.FLAGS.is_parsed():
                # Grain reads a flag of its own, which fails in a program without absl flags.
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self._workers, per_worker_buffer_size=_BUFFER
                ),
                worker_init_fn=end_with_parent,
            )
        self._running.append(iter(dataset))
        self._has_given = False

    def get_state(self) -> bytes:
        """Returns the number of the next batch, as JSON."""
        return json.dumps({"step": self._step}).encode()

    def set_state(self, state: bytes) -> None:
        """Continues at a state from `get_state`, of an iterator with any number of workers."""
        self.seek(json.loads(state)["step"])

    def seek(self, step: int) -> None:
        """Continues with the batch of a step."""
        self.close()
        self._step = step

    def close(self) -> None:
        """Ends threads and processes. A later `next` starts them again at the same batch."""
        _close_all(self._running)


def _close_all(iterators: list[grain.DatasetIterator]) -> None:
    while iterators:
        iterators.pop().close()
