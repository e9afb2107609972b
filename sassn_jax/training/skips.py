"""Skipped updates: they are counted, the first is reported, and too many in a row end the run."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from sassn_jax import methods
from sassn_jax.config import Config
from sassn_jax.errors import TrainingError
from sassn_jax.methods import TrainState
from sassn_jax.training.binding import binding
from sassn_jax.training.branching import way_on
from sassn_jax.training.soundness import LARGE, largest_parameters
from sassn_jax.training.workdir import Workdir

IN_A_ROW = 10  # skipped updates of a player that end the run
PREFIX = "skipped/"  # of the metrics, 1 for a skipped update and 0 for another
RATES = {
    "generator": "optimizer.lr",
    "discriminator": "optimizer.discriminator_lr",
    "classifier": "classifier.lr",
}  # the field of each player's learning rate
GROWN = 5.0  # times its first value: so large a loss has diverged
OTHERS = "its new batch statistics, or vectors of spectral normalization, are not finite"


class Skip(NamedTuple):
    """An update that was skipped.

    Attributes:
      player: whose.
      step: of the update.
      number: which number was not finite, in words.
    """

    player: str
    step: int
    number: str


class Skips:
    """Looks at the numbers of each step, in order."""

    def __init__(self, config: Config, workdir: Workdir, start: int, say: Callable[[str], None]):
        """Begins after `start` steps, with the counts that were logged until then.

        Args:
          config: of the run.
          workdir: of the run.
          start: see above.
          say: prints a line.
        """
        self._config, self._workdir, self._say = config, workdir, say
        self.counts = _logged_counts(workdir, start)
        self._row: dict[str, list[Skip]] = {}  # of each player, until its last step
        self._losses: dict[str, tuple[float, float]] = {}  # of each, the first and the last healthy

    def look(self, step: int, metrics: Mapping[str, Any]) -> bool:
        """Takes the metrics of a step, and returns whether any update was skipped in it."""
        players = [name.removeprefix(PREFIX) for name in metrics if name.startswith(PREFIX)]
        wanted = {name: metrics[name] for x in players for name in (PREFIX + x, f"loss/{x}")}
        numbers = jax.device_get(wanted)  # waits for the step
        for player in players:
            self.counts.setdefault(player, 0)
            loss = float(numbers[f"loss/{player}"])
            if not numbers[PREFIX + player]:
                self._row[player] = []
                self._losses[player] = (self._losses.get(player, (loss,))[0], loss)
                continue
            skip = Skip(player, step, reason(player, jax.device_get(metrics)))
            if not self.counts[player]:
                self._say(
                    f"step {step}: the update of the {player} was skipped, since {skip.number}; "
                    f"more are counted as {PREFIX}{player}"
                )
            self.counts[player] += 1
            self._row.setdefault(player, []).append(skip)
        return any(numbers[PREFIX + player] for player in players)

    def check(
        self, state: TrainState, batch: methods.Batch, healthy: Callable[[int], int | None]
    ) -> None:
        """Ends a run in which nothing but skipped updates of a player is to be expected.

        Args:
          state: of the last step.
          batch: of the last step, as the loader gave it.
          healthy: from a step to the latest checkpoint before it.

        Raises:
          TrainingError: if the last `IN_A_ROW` updates of a player were skipped. It names the
            likeliest cause, and a checkpoint to go on from.
        """
        rows = [row for row in self._row.values() if len(row) >= IN_A_ROW]
        if not rows:
            return
        stuck = min(rows, key=lambda row: row[0].step)
        player, step, number = stuck[0]
        raise TrainingError(
            f"step {stuck[-1].step}: the run was stopped, since {len(stuck)} updates of the "
            f"{player} in a row were skipped; at the first, of step {step}, {number}. "
            f"{self._cause(player, number, state, batch)}. "
            + way_on(self._workdir.path, healthy(step))
        )

    def finish(self) -> None:
        """Says how many updates were skipped, if any were."""
        counts = [f"{count} of the {player}" for player, count in self.counts.items() if count]
        if counts:
            self._say(f"skipped updates: {', '.join(counts)}")

    def _cause(self, player: str, number: str, state: TrainState, batch: methods.Batch) -> str:
        """Returns the likeliest cause of a row of skipped updates, by what the numbers say."""
        largest = largest_parameters(state)  # which all processes must take part in
        halves: Mapping[str, Any] = batch
        if not all(np.isfinite(half["image"]).all() for half in halves.values()):
            return (
                "The batch has images that are not finite: look at image.std, image.mean and the "
                "images in data_dir"
            )
        # A ruined network gives the others numbers that are not finite, often before its own are.
        ruined = max(largest, key=lambda name: (math.isnan(largest[name]), largest[name]))
        culprit = player if largest[ruined] < LARGE else ruined
        fields, rate = binding(self._config), RATES[culprit]
        first, last = self._losses.get(culprit, (math.nan, math.nan))
        signs = []
        if last > GROWN * first:
            signs.append(f"the loss of the {culprit} had grown from {first:.3g} to {last:.3g}")
        if not largest[culprit] < LARGE:
            signs.append(f"parameters of the {culprit} are as large as {largest[culprit]:.3g}")
        if culprit == player and number.endswith("inf"):
            signs.append("the number is too large for float32")
        if signs:
            why = " and ".join(signs)
            return f"The likeliest cause is a high {rate}={fields[rate]!r}, since {why}"
        if fields["model.dtype"] == "bfloat16":
            return "The likeliest cause is model.dtype='bfloat16'; float32 is more exact"
        return "No number had grown before: --config.debug_nans=True finds the operation"


def reason(player: str, metrics: Mapping[str, Any]) -> str:
    """Says in words which number of a player was the reason to skip its update.

    Args:
      player: such as `generator`.
      metrics: of the step, on this machine.
    """
    for name in (f"loss/{player}", f"gradient_norm/{player}"):
        if not math.isfinite(metrics[name]):
            return f"{name} is {float(metrics[name])}"
    return OTHERS


def _logged_counts(workdir: Workdir, start: int) -> dict[str, int]:
    """Returns the counts of the last line of the log that is not after a step, by player."""
    counts: dict[str, int] = {}
    for row in workdir.read_rows():
        if row["step"] <= start:
            found = {name: int(row[name]) for name in row if name.startswith(PREFIX)}
            counts |= {name.removeprefix(PREFIX): count for name, count in found.items()}
    return counts
