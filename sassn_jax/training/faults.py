"""What a run says and counts of images that it could not read."""

from collections.abc import Callable, Iterable

import numpy as np

from sassn_jax import data, processes
from sassn_jax.data.skipping import Skipped, tally_of
from sassn_jax.errors import UnreadableError
from sassn_jax.training.setup import Setup


class Faults:
    """The images of a run that were skipped, since its processes began.

    Of several processes, each hears at once of those that it skipped itself, and of all others when
    values are logged or scores merged.
    """

    def __init__(self, setup: Setup, say: Callable[[str], None]):
        """Takes the images and the share of them that may be skipped from a setup.

        Args:
          setup: of the run.
          say: prints a line.
        """
        self._say = say
        self._splits = setup.dataset.splits
        ids = {
            "labeled": setup.split.labeled,
            "unlabeled": setup.unlabeled,
            "val": self._splits["val"].ids,
        }
        share = setup.config.max_unreadable
        self._ids = ids
        self._tallies = {kind: tally_of(kind, len(ids[kind]), share) for kind in ids}
        self._places = 0  # in batches, since values were logged
        self._new: dict[str, set[int]] = {kind: set() for kind in ids}  # since then

    def replaced(self, skipped: Iterable[Skipped]) -> None:
        """Takes the images in whose place others were trained on; says of each once.

        Raises:
          InputError: if more of them cannot be read than `config.max_unreadable` allows.
        """
        for one in skipped:
            self._places += 1
            self._new[one.kind].add(one.place)
            self._add(one.kind, one.id, one.reason)

    def left_out(self, index: int, error: UnreadableError) -> None:
        """Takes an image of the validation split that is not scored; says of each once.

        Raises:
          InputError: if more of them cannot be read than `config.max_unreadable` allows.
        """
        self._new["val"].add(index)
        self._add("val", self._ids["val"][index], str(error))

    def take_scalars(self) -> dict[str, float]:
        """Returns how many places in batches others took since the last call; nothing if none.

        All processes must call it at the same steps, as they must `take_left_out`.

        Raises:
          InputError: if more images cannot be read than `config.max_unreadable` allows.
        """
        places = int(processes.total(np.array([self._places]))[0])
        self._places = 0
        for kind in ("labeled", "unlabeled") if places else ():
            self._take(kind)
        return {"data/replaced": float(places)} if places else {}

    def take_left_out(self) -> list[str]:
        """Returns the ids of the images that were not scored since the last call.

        Raises:
          InputError: if more images cannot be read than `config.max_unreadable` allows.
        """
        return self._take("val")

    def say_all(self) -> None:
        """Says how many images were skipped, if any were."""
        if counts := [str(tally) for tally in self._tallies.values() if tally.ids]:
            self._say(f"could not be read and were skipped: {', '.join(counts)}")

    def _add(self, kind: str, id_: str, reason: str) -> None:
        if self._tallies[kind].add(id_, reason):
            what = "an image that cannot be read is not scored"
            if kind != "val":
                what = "another image takes the place of one that cannot be read"
            self._say(f"{what}: {reason}")

    def _take(self, kind: str) -> list[str]:
        """Returns the ids of the images of a kind that any process skipped since the last call."""
        ids = [self._ids[kind][i] for i in processes.union(self._new[kind], len(self._ids[kind]))]
        self._new[kind].clear()
        for id_ in ids:
            if id_ not in self._tallies[kind].ids:  # another process skipped it
                self._add(kind, id_, self._reason(id_))
        return ids

    def _reason(self, id_: str) -> str:
        """Returns why an image cannot be read, by another try in this process."""
        for source in self._splits.values():
            if id_ in source.ids:
                try:
                    data.subset(source, [id_])[0]
                except UnreadableError as error:
                    return str(error)
        return f"image {id_!r}: another process cannot read it"
