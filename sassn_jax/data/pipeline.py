"""Training batches from sources: shuffled, transformed, prefetched, and resumable at a step."""

import json
import sys
import weakref
from collections.abc import Callable

import grain
import numpy as np
from absl import flags

from sassn_jax.data.dataset import Example, Source

Batch = dict[str, dict[str, np.ndarray]]
Transform = Callable[[Example, np.random.Generator], dict[str, np.ndarray]]

# How many threads make batches, and how many batches ahead of the step. Two threads suffice: NumPy
# and the decoders release the GIL, and more would take cores from the step where it runs on a CPU.
_THREADS = 2
_BUFFER = 4


def train_batches(
    labeled: Source,
    unlabeled: Source | None,
    *,
    transform: Transform,
    batch_size: int,
    seed: int,
    workers: int = 0,
    unlabeled_from: int = 0,
) -> "BatchIterator":
    """Endless training batches.

    Batch number `step` depends on the sources, the transform, the seed and `step`, and on nothing
    else: not on the number of workers, nor on what was read before. Each stream is shuffled anew in
    every epoch; batches run on across the end of an epoch, so all are full.

    Args:
      labeled: images with masks.
      unlabeled: images that are used without their masks; None or empty where there are none.
      transform: of an example and a random generator, to arrays that can be stacked.
      batch_size: images of each kind in a batch.
      seed: of order and transforms, in [0, 2**32).
      workers: processes that prepare batches; 0 prepares them in threads of this process.
      unlabeled_from: first step whose batch has unlabelled images.

    Returns:
      An iterator over `{"labeled": {"image", "label"}, "unlabeled": {"image", "label"}}`, where
      `image` is float32 `[B, h, w, 3]` and `label` int32 `[B, h, w]`. `unlabeled` is absent before
      `unlabeled_from`, and where there is no such image; its `label` serves diagnostics alone.
      What else `transform` gives of an example is there too. An error that `transform` raises
      comes out of the iterator as it is, from threads and processes alike.

    Raises:
      ValueError: where there is no labelled image.
    """
    if not len(labeled):
        raise ValueError("labeled: expected at least one image")
    sources = {"labeled": labeled}
    if unlabeled is not None and len(unlabeled):
        sources["unlabeled"] = unlabeled
    # Streams of their own, so that the labelled batches are the same whatever goes beside them.
    seeds = np.random.SeedSequence(seed).generate_state(2)
    streams = {
        name: grain.MapDataset.source(source)
        .seed(int(stream_seed))
        .shuffle()
        .repeat()
        .random_map(transform)
        .batch(batch_size)
        for (name, source), stream_seed in zip(sources.items(), seeds, strict=False)
    }
    batches = _Batches(streams, {"labeled": 0, "unlabeled": unlabeled_from})
    return BatchIterator(grain.MapDataset.source(batches), workers)


class _Batches:
    """All streams' batches of a step, by the number of the step."""

    def __init__(self, streams: dict[str, grain.MapDataset], first_step: dict[str, int]):
        self._streams = streams
        self._first_step = first_step

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> Batch:
        return {
            name: stream[step]
            for name, stream in self._streams.items()
            if step >= self._first_step[name]
        }


class BatchIterator:
    """Walks through batches, prefetching; its whole state is the number of the next one.

    Grain's own state of a loader with processes fits only the same number of processes. The batches
    are random access, so a loader is instead started anew at the step where it shall go on. The
    methods are what `grain.checkpoint.CheckpointSave` and `CheckpointRestore` ask of an iterator.
    """

    def __init__(self, batches: grain.MapDataset, workers: int):
        self._batches = batches
        self._workers = workers
        self._step = 0
        self._running: list[grain.DatasetIterator] = []  # one, or none
        # Runs at the end of the program too, early enough: Grain's iterators complain where Python
        # ends them.
        weakref.finalize(self, _close_all, self._running)

    def __iter__(self) -> "BatchIterator":
        return self

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, made here and now."""
        return self._batches[step]

    def __next__(self) -> Batch:
        self.start_prefetch()
        batch = next(self._running[0])
        self._step += 1
        return batch

    def start_prefetch(self) -> None:
        """Starts making batches ahead, if that has not been done."""
        if self._running:
            return
        dataset = self._batches.slice(slice(self._step, None)).to_iter_dataset(
            grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_BUFFER)
        )
        if self._workers:
            if not flags.FLAGS.is_parsed():
                # Grain reads a flag of its own here, and fails in a program that parses none.
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(
                    num_workers=self._workers, per_worker_buffer_size=_BUFFER
                )
            )
        self._running.append(iter(dataset))

    def get_state(self) -> bytes:
        """The position, as JSON: the number of the batch that comes next."""
        return json.dumps({"step": self._step}).encode()

    def set_state(self, state: bytes) -> None:
        """Goes on at a position that `get_state` gave, with whatever number of workers."""
        self.seek(json.loads(state)["step"])

    def seek(self, step: int) -> None:
        """Goes on with the batch of a step."""
        self.close()
        self._step = step

    def close(self) -> None:
        """Ends threads and processes. A later `next` starts them again, at the same position."""
        _close_all(self._running)


def _close_all(iterators: list[grain.DatasetIterator]) -> None:
    while iterators:
        iterators.pop().close()
