"""Says before a run whether it fits a GPU, and the least time that it takes.

    make plan FLAGS='--config=configs/NAME.py --gpu=NAME [--num_gpus=8] [--output=FILE.json]'

The training step is compiled for the GPU, which need not be there. Neither weights nor data are
needed, but for your own images (configs/folder.py:path=FOLDER), which define the classes.
If the run does not fit, bfloat16, rematerialisation and accumulation are tried, the cheapest first.
The exit code is 1 if nothing makes it fit.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from experiments import described_gpu
from experiments.described_gpu import planning
from sassn_jax.commands import command
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

WIDTH = 110

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/scenes.py:method=sassn,labels=1/8."
)
_GPU = flags.DEFINE_string("gpu", None, f"One of {', '.join(described_gpu.GPUS)}.", required=True)
_NUM_GPUS = flags.DEFINE_integer("num_gpus", 1, "GPUs in one machine that share a batch.")
_OUTPUT = command.define_path("output", "", "File for the figures, JSON; none if empty.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Compiles variants of the run until one fits, and prints the findings."""
    if _GPU.value not in described_gpu.GPUS:
        raise InputError(f"--gpu={_GPU.value}: expected one of {', '.join(described_gpu.GPUS)}")
    output = Path(_OUTPUT.value)
    if not output.parent.is_dir():
        raise InputError(f"--output={output}: there is no folder {output.parent}; make it first")
    config = planning.check(_CONFIG.value, _NUM_GPUS.value)
    described_gpu.find_compiler()
    plan = planning.make_plan(config, described_gpu.GPUS[_GPU.value], _NUM_GPUS.value)
    console = make_console(width=max(Console().width, WIDTH))
    console.print(planning.table(plan), *planning.remarks(plan), sep="\n")
    if _OUTPUT.value:
        write_json(output, planning.figures(plan))
    if not plan.fits:
        sys.exit(1)


if __name__ == "__main__":
    command.run(main)
