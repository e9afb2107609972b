"""Images that cannot be read in the middle of a run: skipped, up to a share of all."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sassn_jax.data.batch import Half
from sassn_jax.data.dataset import Example, Source
from sassn_jax.errors import InputError, UnreadableError

Transform = Callable[[Example, np.random.Generator], Half[np.ndarray]]


class Skipped(NamedTuple):
    """An image that was skipped.

    Attributes:
      kind: of the image: `labeled` or `unlabeled`.
      place: among the images of its kind, from 0.
      id: of the image.
      reason: one line, which names the file and says what to do.
    """

    kind: str
    place: int
    id: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts the images of one kind that cannot be read, each once.

    Attributes:
      what: the images are called in a message, such as `labelled images`.
      total: the number of all images of the kind.
      share: `config.max_unreadable`, the largest share of them that may be skipped.
      ids: of the images so far.
    """

    what: str
    total: int
    share: float
    ids: set[str] = dataclasses.field(default_factory=set)

    def add(self, id_: str, reason: str) -> bool:
        """Counts an image. Returns whether it is a new one.

        Raises:
          InputError: if more images cannot be read than may be skipped.
        """
        is_new = id_ not in self.ids
        self.ids.add(id_)
        allowed = math.floor(self.share * self.total)
        if len(self.ids) > allowed:
            raise InputError(
                f"{reason}; {len(self.ids)} of {self.total} {self.what} cannot be read so far, and "
                f"max_unreadable={self.share} lets {allowed} be skipped"
            )
        return is_new

    def __str__(self) -> str:
        """How many there are, in words."""
        return f"{len(self.ids)} of {self.total} {self.what}"


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads and transforms images; another one takes the place of one that cannot be read.

    The other one is drawn by the random generator of the place in the stream. So it depends on the
    seed, the place and on which images cannot be read; what stands at the other places does not
    change.

    Attributes:
      source: of the images.
      transform: makes the arrays of one image from an example and a random generator.
      kind: see `Skipped`.
      share: see `Tally`.
    """

    source: Source
    transform: Transform
    kind: str
    share: float

    def __call__(
        self, index: int, rng: np.random.Generator
    ) -> tuple[Half[np.ndarray], tuple[Skipped, ...]]:
        """Returns the arrays for one place, and the images that were skipped there.

        Raises:
          InputError: from `transform`; or if at this place alone more images cannot be read than
            may be skipped.
        """
        skipped: dict[str, Skipped] = {}
        tally = tally_of(self.kind, len(self.source), self.share)
        while True:
            try:
                example = self.source[index]
            except UnreadableError as error:
                id_ = self.source.ids[index]
                tally.add(id_, str(error))
                skipped[id_] = Skipped(self.kind, index, id_, str(error))
                index = int(rng.integers(len(self.source)))
            else:
                return self.transform(example, rng), tuple(skipped.values())


def tally_of(kind: str, total: int, share: float) -> Tally:
    """Returns a tally without images; the arguments are those of `Skipped` and `Tally`."""
    named = {"labeled": "labelled images", "unlabeled": "unlabelled images"}
    return Tally(named.get(kind, f"images of {kind}"), total, share)


def stack(
    read: Sequence[tuple[Half[np.ndarray], tuple[Skipped, ...]]],
) -> tuple[Half[np.ndarray], tuple[Skipped, ...]]:
    """Makes a half of a batch from what `Reader` returned for each of its images."""
    halves: list[Any] = [half for half, _ in read]
    arrays: Any = {name: np.stack([half[name] for half in halves]) for name in halves[0]}
    return arrays, tuple(one for _, skipped in read for one in skipped)


def first_readable(source: Source) -> Example:
    """Returns the first image of a source that can be read.

    Raises:
      UnreadableError: if none can be read.
    """
    for index in range(len(source) - 1):
        with contextlib.suppress(UnreadableError):
            return source[index]
    return source[len(source) - 1]
