"""Says before a run whether it fits a GPU, and the least time that it takes.

    make plan FLAGS='--config=configs/NAME.py --gpu=NAME [--num_gpus=8] [--output=FILE.json]'
    make plan FLAGS='--config=configs/NAME.py --gpu=NAME --scaling=1,8,64,512 [--output=FILE.json]'

The training step is compiled for the GPU, which need not be there. Neither weights nor data are
needed, but for your own images (configs/folder.py:path=FOLDER), which define the classes.
If the run does not fit, bfloat16, rematerialisation and accumulation are tried, the cheapest first.
The exit code is 1 if nothing makes it fit.

With --scaling each of that many GPUs takes a batch of the config, and a table says what each holds,
computes and sends to the others, with all parameters on each GPU and with a share of them.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from experiments import described_gpu
from experiments.described_gpu import planning, scaling
from sassn_jax.commands import command
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

WIDTH = 132

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, such as configs/scenes.py:method=sassn,labels=1/8."
)
_GPU = flags.DEFINE_string("gpu", None, f"One of {', '.join(described_gpu.GPUS)}.", required=True)
_NUM_GPUS = flags.DEFINE_integer("num_gpus", 1, "GPUs in one machine that share a batch.")
_SCALING = flags.DEFINE_list("scaling", [], "Numbers of GPUs with a batch each, such as 1,8,64.")
_OUTPUT = command.define_path("output", "", "File for the figures, JSON; none if empty.")
flags.mark_flag_as_required("config")


def main() -> None:
    """Compiles variants of the run until one fits, and prints the findings."""
    if _GPU.value not in described_gpu.GPUS:
        raise InputError(f"--gpu={_GPU.value}: expected one of {', '.join(described_gpu.GPUS)}")
    output = Path(_OUTPUT.value)
    if not output.parent.is_dir():
        raise InputError(f"--output={output}: there is no folder {output.parent}; make it first")
    gpu = described_gpu.GPUS[_GPU.value]
    console = make_console(width=max(Console().width, WIDTH))
    if _SCALING.value:
        counts = _parse_counts(_SCALING.value)
        config = planning.check(_CONFIG.value, 1)
        for count in counts:
            gpu.check_count(count, "--scaling")
        described_gpu.find_compiler()
        points = scaling.compile_points(config, gpu, counts)
        console.print(scaling.table(points, gpu), *scaling.remarks(config, gpu), sep="\n")
        figures = scaling.figures(points, gpu)
        fits = True
    else:
        config = planning.check(_CONFIG.value, _NUM_GPUS.value)
        gpu.check_count(_NUM_GPUS.value, "--num_gpus")
        described_gpu.find_compiler()
        plan = planning.make_plan(config, gpu, _NUM_GPUS.value)
        console.print(planning.table(plan), *planning.remarks(plan), sep="\n")
        figures, fits = planning.figures(plan), plan.fits
    if _OUTPUT.value:
        write_json(output, figures)
    if not fits:
        sys.exit(1)


def _parse_counts(words: list[str]) -> list[int]:
    """Returns the numbers of GPUs.

    Raises:
      InputError: one of them is no number.
    """
    if not all(word.isdecimal() for word in words):
        raise InputError(f"--scaling={','.join(words)}: expected numbers of GPUs such as 1,8,64")
    return [int(word) for word in words]


if __name__ == "__main__":
    command.run(main)
