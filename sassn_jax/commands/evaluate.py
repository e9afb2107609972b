"""Scores a run: sassn evaluate --workdir=DIR [--split=test].

In a checkout, `python -m experiments.evaluate` is the same command. --workdir can also name a file
that `sassn export` wrote.

The run is scored as its config says, unless these flags give other values: --config.eval.pad_to,
--config.eval.window, --config.eval.stride, --config.eval.scales, --config.eval.mirror,
--config.eval_batch_size, --config.max_unreadable, --config.dataset, --config.data_dir and
--config.source. Where the data have moved, give --config.data_dir here; `sassn train` and
`sassn report` have --data_dir for it.

The scores are written to eval_SPLIT.json in the run's folder. --checkpoint=best and latest write to
the same file, which says the step of the checkpoint that was scored last.
"""

from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import get_override_values
from rich.table import Table

from sassn_jax.commands import command
from sassn_jax.terminal import make_console, printable


def run() -> None:
    """Runs the command."""
    from sassn_jax.recipes import default_config  # imports JAX, as the other commands do later

    defaults = default_config()
    fields = ("eval", "eval_batch_size", "max_unreadable", "dataset", "data_dir", "source")
    config = command.define_config(ConfigDict({name: defaults[name] for name in fields}))
    workdir = command.define_path(
        "workdir", None, "Folder of the run, or a file of sassn export.", required=True
    )
    split = flags.DEFINE_string("split", "val", "Split of its dataset, such as val or test.")
    checkpoint = command.define_checkpoint()

    def evaluate() -> None:
        from sassn_jax import processes

        with processes.joined():
            _evaluate(
                command.required(workdir),
                split.value,
                checkpoint.value,
                get_override_values(flags.FLAGS[config.name]),
            )

    command.run(evaluate)


def _evaluate(workdir: str, split: str, checkpoint: str, overrides: dict[str, Any]) -> None:
    """Scores the run, prints the result as a table, and writes it."""
    from sassn_jax import processes
    from sassn_jax.prediction.run import load_run
    from sassn_jax.prediction.scoring import score_run, write_scores

    run = load_run(workdir, checkpoint, overrides)
    with command.progress(f"scoring {split}") as show:
        result = score_run(run, split, show)
    if not processes.is_first():
        return
    try:
        _print(workdir, result)
    finally:  # scores that cannot be printed are written, and the other way round
        write_scores(workdir, result)


def _print(workdir: str, result: dict[str, Any]) -> None:
    from sassn_jax.data.lists import name_several

    console = make_console()
    # Not as the table's title, which Rich wraps, also within a name.
    console.print(f"{workdir}, step {result['step']}, {result['split']}", soft_wrap=True)
    table = Table()
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, iou in result["iou"].items():
        table.add_row(name, _format(iou))
    table.add_section()
    table.add_row("mIoU", _format(result["miou"]))
    table.add_row("pixel accuracy", _format(result["pixel_accuracy"]))
    console.print(table)
    if left_out := result["left_out"]:
        named = printable(f"{left_out[0]!r}{name_several(left_out)}", console)
        console.print(f"not scored, since they cannot be read: {named}", soft_wrap=True)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
