"""What a run says and counts of images that it could not read."""

from collections.abc import Callable, Iterable

from sassn_jax import processes
from sassn_jax.data.skipping import Skipped, tally_of
from sassn_jax.errors import UnreadableError
from sassn_jax.training.setup import Setup


class Faults:
    """The images of a run that were skipped, since this process began."""

    def __init__(self, setup: Setup, say: Callable[[str], None]):
        """Takes the numbers of images and the share of them that may be skipped from a setup.

        Args:
          setup: of the run.
          say: prints a line.
        """
        self._say = say
        self._source = setup.dataset.splits["val"]
        totals = {
            "labeled": len(setup.split.labeled),
            "unlabeled": setup.number_of_unlabeled,
            "val": len(self._source),
        }
        share = setup.config.max_unreadable
        self._tallies = {kind: tally_of(kind, total, share) for kind, total in totals.items()}
        self._replaced = 0
        self._left_out: list[int] = []

    def replaced(self, skipped: Iterable[Skipped]) -> None:
        """Takes the images in whose place others were trained on; says of each once.

        Raises:
          InputError: if more of them cannot be read than `config.max_unreadable` allows.
        """
        for one in skipped:
            self._replaced += 1
            if self._tallies[one.kind].add(one.id, one.reason):
                self._say(f"another image takes the place of one that cannot be read: {one.reason}")

    def left_out(self, index: int, error: UnreadableError) -> None:
        """Takes an image of the validation split that is not scored; says of each once.

        Raises:
          InputError: if more of them cannot be read than `config.max_unreadable` allows.
        """
        id_ = self._source.ids[index]
        self._left_out.append(index)
        if self._tallies["val"].add(id_, str(error)):
            self._say(f"an image that cannot be read is not scored: {error}")

    def take_scalars(self) -> dict[str, float]:
        """Returns how many images were replaced since the last call; nothing if none was."""
        replaced, self._replaced = self._replaced, 0
        return {"data/replaced": float(replaced)} if replaced else {}

    def take_left_out(self) -> list[str]:
        """Returns the ids of the images that no process scored since the last call."""
        left_out = processes.union(self._left_out, len(self._source))
        self._left_out.clear()
        return [self._source.ids[index] for index in left_out]

    def say_all(self) -> None:
        """Says how many images were skipped, if any were."""
        if counts := [str(tally) for tally in self._tallies.values() if tally.ids]:
            self._say(f"could not be read and were skipped: {', '.join(counts)}")
