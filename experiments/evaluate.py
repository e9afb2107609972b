"""Scores a run: python -m experiments.evaluate --workdir=DIR [--split=test].

In place of the folder a file of experiments.export can stand.

The run is scored as its config says, unless flags give other values: --config.eval.pad_to,
--config.eval.window, --config.eval.stride, --config.eval.scales, --config.eval.mirror,
--config.eval_batch_size, --config.dataset or --config.data_dir. See configs/common.py.
"""

from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import get_override_values
from rich.table import Table

from configs import common
from experiments import command
from sassn_jax.terminal import make_console

_DEFAULTS = common.base_config(None)
_CONFIG = command.define_config(
    ConfigDict(
        {name: _DEFAULTS[name] for name in ("eval", "eval_batch_size", "dataset", "data_dir")}
    )
)
_WORKDIR = command.define_path(
    "workdir", None, "Folder of the run, or a file of experiments.export.", required=True
)
_SPLIT = flags.DEFINE_string("split", "val", "Split of its dataset, such as val or test.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "One of latest, best (by mIoU on val).")


def main() -> None:
    """Scores the run, prints the result as a table, and writes it."""
    # After the flags: JAX takes seconds.
    from sassn_jax.training.evaluate_run import score_run, write_scores

    workdir = command.required(_WORKDIR)
    with command.progress(f"scoring {_SPLIT.value}") as show:
        result = score_run(
            workdir,
            _SPLIT.value,
            _CHECKPOINT.value,
            show,
            get_override_values(flags.FLAGS[_CONFIG.name]),
        )
    try:
        _print(workdir, result)
    finally:  # whichever of the two fails, the other is done
        write_scores(workdir, result)


def _print(workdir: str, result: dict[str, Any]) -> None:
    console = make_console()
    # Not as the table's title, which would be wrapped, also within the name.
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


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    command.run(main)
