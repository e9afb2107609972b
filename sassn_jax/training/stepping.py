"""The steps of a run, one after the other, with what comes between them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from sassn_jax.methods import TrainState
from sassn_jax.training import parallel
from sassn_jax.training.checkpoint import Checkpoints
from sassn_jax.training.debugging import debugged
from sassn_jax.training.faults import Faults
from sassn_jax.training.progress import LINES, Reporter
from sassn_jax.training.saving import Saving
from sassn_jax.training.setup import Setup, learning_rates
from sassn_jax.training.skips import Skips
from sassn_jax.training.soundness import fault_of
from sassn_jax.training.stopping import Stopping
from sassn_jax.training.summaries import AnyWriter
from sassn_jax.training.tracing import Trace
from sassn_jax.training.validation import Validation
from sassn_jax.training.window import Window
from sassn_jax.training.workdir import Workdir

SHOWN = (
    "loss/cross_entropy",
    "loss/discriminator",
    "self_training/kept",
    "consistency/kept",
    "images_per_second",
)


class Loop:
    """Takes the steps of a run, with what they share."""

    def __init__(
        self,
        setup: Setup,
        workdir: Workdir,
        writer: AnyWriter,
        reporter: Reporter,
        checkpoints: Checkpoints,
        stopping: Stopping,
    ):
        """Compiles nothing yet: that happens at the first call."""
        self.setup, self.workdir, self.writer, self.reporter = setup, workdir, writer, reporter
        self.checkpoints, self.stopping = checkpoints, stopping
        self.saving = Saving(checkpoints, reporter.say)
        self.faults = Faults(setup, reporter.say)
        self.validation = Validation(setup, workdir, writer, reporter, self.faults, stopping)

    def run(self, state: TrainState, start: int) -> TrainState:
        """Takes the steps from `start` on. The order of what a step does matters for a resume."""
        config, batches, checkpoints = self.setup.config, self.setup.batches, self.checkpoints
        train_step: Callable[..., Any] = parallel.jit_step(
            self.setup.method, self.setup.mesh, self.setup.state_shardings(state)
        )
        if config.debug_nans:
            train_step = debugged(train_step, self.setup.method)
        log_every = min(config.log_every, max(1, config.num_steps // LINES))
        skips = Skips(config, self.workdir, start, self.reporter.say)
        window = Window(skips, checkpoints.record(start).unlogged)
        if start and self._is_scored(start) and checkpoints.record(start).miou is None:
            # The run was stopped in this evaluation.
            miou = self.validation.run(start, state, batches[start - 1])
            if miou is None:
                raise self.stopping.error(start)
            self.saving.score(start, miou, must=start == config.num_steps)
        if start < config.num_steps and self.stopping.requested():
            raise self.stopping.error(start)
        values: Mapping[str, float] = {}  # that were logged last
        kinds = 0  # of the batch before: a batch with unlabelled images is another program
        with Trace(config, start, self.workdir.path, self.reporter.say) as trace:
            for step in range(start + 1, config.num_steps + 1):
                trace.begin(step)
                taken = window.wait_for(batches)
                self.faults.replaced(batches.take_skipped())
                if kinds and len(taken) != kinds:
                    self.reporter.say(
                        f"step {step} is the first with unlabelled images: compiling it, which may "
                        "take minutes"
                    )
                kinds = len(taken)
                batch = parallel.put_batch(taken, self.setup.mesh)
                with jax.transfer_guard("disallow"):
                    state, metrics = train_step(state, batch)
                window.add(step, metrics, images=config.batch_size * len(batch))
                trace.end(step, metrics)
                self.reporter.update(step)

                evaluating = self._is_scored(step)
                saving = evaluating or step % config.checkpoint_every == 0
                if saving or step % log_every == 0:
                    has_discriminator = state.discriminator is not None
                    rates = learning_rates(
                        config, self.setup.method, step - 1, has_discriminator=has_discriminator
                    )
                    values = window.close() | rates | self.faults.take_scalars()
                    self._log(step, values)
                skips.check(state, taken, checkpoints.healthy_step)
                miou = self.validation.run(step, state, taken) if evaluating else None
                is_left = evaluating and miou is None
                stops = is_left or (step < config.num_steps and self.stopping.requested())
                self.saving.check()
                if saving or stops:
                    fault = fault_of(state, values, self.setup.dataset.info.num_classes)
                    must = stops or step == config.num_steps
                    self.saving.save(state, batches, miou, window.unlogged(), fault, must=must)
                    window.restart()
                if stops:
                    raise self.stopping.error(step)
        self.faults.say_all()
        skips.finish()
        return state

    def _is_scored(self, step: int) -> bool:
        config = self.setup.config
        return step == config.num_steps or step % config.eval_every == 0

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        if not self.setup.truth_of_unlabeled:
            values = {name: x for name, x in values.items() if not name.endswith("/precision")}
        self.writer.scalars(step, values)
        self.reporter.values(step, {name: values[name] for name in SHOWN if name in values})
