"""Times the training step, prediction, and position attention alone.

    python -m experiments.benchmark step --config=configs/NAME.py
    python -m experiments.benchmark inference --workdir=DIR [--size=321,321] [--onnx=FILE]
    python -m experiments.benchmark attention [--shapes=voc_sa1,1x8385x64x512] [--dtypes=bfloat16]

`step` times a training step, `inference` the prediction of images by batch size, `attention` each
implementation of position attention. If PyTorch is installed, the same is timed in PyTorch, in turn
with ours.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.table import Table

from sassn_jax.commands import command
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console

_CONFIG = config_flags.DEFINE_config_file("config", None, "step: as for sassn train.")
_STEPS = flags.DEFINE_integer("steps", 10, "How many times each thing is timed.", 1)
_WORKDIR = command.define_path("workdir", "", "inference: a run, or a file of sassn export.")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["1", "8"], "inference: images in a call.")
_SIZE = flags.DEFINE_list("size", None, "inference: height,width; of the run's crops if left out.")
_ONNX = command.define_path("onnx", "", "inference: the run as an ONNX file, to be timed too.")
_SHAPES = flags.DEFINE_list(
    "shapes", None, "attention: named shapes, or batch x positions x qk_width x v_width; all named."
)
_IMPLEMENTATIONS = flags.DEFINE_list(
    "implementations", ["triton", "blockwise", "reference"], "attention: which ones of ours."
)
_DTYPES = flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "attention: of q, k and v.")
_OUTPUT = command.define_path("output", "", "File for the figures, JSON; none if empty.")


_ATTENTION: dict[str, tuple[str, Callable[[Any], str]]] = {  # figure and format, by heading
    "forward,\nms": ("forward_seconds", lambda x: f"{x * 1e3:,.1f}"),
    "both,\nms": ("both_seconds", lambda x: f"{x * 1e3:,.1f}"),
    "both,\nGFLOP/s": ("both_flops_per_second", lambda x: f"{x / 1e9:,.0f}"),
    "share of\nthe peak": ("share_of_peak", "{:.0%}".format),
    "scratch,\nMiB": ("scratch_bytes", lambda x: f"{x / 2**20:,.1f}"),
    "both / SDPA": ("ratio_to_sdpa", "{:.2f}".format),
}


def step() -> None:
    """Times a training step."""
    from experiments.benchmarks.step import benchmark_step

    config = _CONFIG.value
    if config is None:
        raise InputError("--config: not given; see --help")
    result = benchmark_step(config, _STEPS.value)
    table = Table(title=f"one step of {config.dataset} {config.method}")
    table.add_column("")
    table.add_column("ours", justify="right")
    if "torch" in result:
        table.add_column("PyTorch", justify="right")
    for key, text in {
        "step_seconds": "step, s",
        "input_wait_seconds": "waiting for input, s",
        "images_per_second": "images per second",
        "compile_seconds": "compilation, s",
        "peak_bytes": "memory of the step, bytes",
    }.items():
        values = [result[name].get(key) for name in ("ours", "torch") if name in result]
        table.add_row(text, *("-" if x is None else f"{x:,.4g}" for x in values))
    console = make_console()
    console.print(table)
    console.print(f"input wait: {result['input_wait_share']:.1%} of the time")
    if "torch" in result:
        console.print(f"ours / PyTorch: {result['ratio']:.2f} times the time of a step")
    else:
        console.print(f"not compared with PyTorch: {result['not_compared']}")
    _write(result)


def inference() -> None:
    """Times the prediction of images."""
    from experiments.benchmarks.inference import benchmark_inference

    batch_sizes = _numbers(_BATCH_SIZES)
    size = None
    if _SIZE.value is not None:
        if len(sides := _numbers(_SIZE)) != 2:
            raise InputError(
                f"--size={','.join(_SIZE.value)}: expected height,width such as 480,640"
            )
        size = sides[0], sides[1]
    workdir = command.required(_WORKDIR)
    result = benchmark_inference(workdir, batch_sizes, size, _ONNX.value, _STEPS.value)
    console = make_console(soft_wrap=True)
    height, width = result["size"]
    for batch in result["batches"]:
        table = Table(title=f"{batch['batch_size']} x {height}x{width}, milliseconds a call")
        table.add_column("", no_wrap=True)
        for text in ("median", "least", "most", "images\na second", "probabilities\ndiffer by"):
            table.add_column(text, justify="right")
        for name, figures in batch["implementations"].items():
            milliseconds = (f"{x * 1e3:,.1f}" for x in figures["seconds"].values())
            rate, difference = figures["images_per_second"], figures["largest_difference"]
            table.add_row(name, *milliseconds, f"{rate:,.4g}", f"{difference:.1e}")
        console.print(table)
        if "ratio_to_torch" in batch:
            console.print(f"ours / PyTorch: {batch['ratio_to_torch']:.2f} times the time")
    if "not_compared" in result:
        console.print(f"not compared with PyTorch: {result['not_compared']}")
    _write(result)


def _numbers(flag: flags.FlagHolder[Any]) -> list[int]:
    if not flag.value or not all(x.isdecimal() and int(x) > 0 for x in flag.value):
        raise InputError(f"--{flag.name}={','.join(flag.value)}: expected whole numbers above 0")
    return [int(x) for x in flag.value]


def attention() -> None:
    """Times the implementations of position attention."""
    from experiments.benchmarks.attention import DTYPES, benchmark_attention
    from pallas_kernels.position_attention import IMPLEMENTATIONS

    command.check_names(_IMPLEMENTATIONS, IMPLEMENTATIONS)
    command.check_names(_DTYPES, DTYPES)
    result = benchmark_attention(_SHAPES.value, _IMPLEMENTATIONS.value, _DTYPES.value, _STEPS.value)
    console = make_console(soft_wrap=True)
    reasons = set()
    for case in result["cases"]:
        sizes = "batch {batch}, N {positions}, q and k {qk_width}, v {v_width}".format(**case)
        side, rate = case["peak_size"], case["peak_flops_per_second"] / 1e9
        peak = f"a matmul of {side} x {side}: {rate:,.0f} GFLOP/s"
        table = Table(title=f"{case['shape']}: {sizes}, {case['dtype']}; peak, {peak}")
        table.add_column("", no_wrap=True)
        for text in _ATTENTION:
            table.add_column(text, justify="right")
        for name, figures in case["implementations"].items():
            if "unsupported" in figures:
                reasons.add(f"{name}: {figures['unsupported']}")
                table.add_row(name, "not here", *["-"] * (len(_ATTENTION) - 1))
            else:
                values = ((figures.get(key), text) for key, text in _ATTENTION.values())
                table.add_row(name, *("-" if x is None else text(x) for x, text in values))
        console.print(table)
    console.print(*sorted(reasons), sep="\n")
    _write(result)


def _write(result: dict[str, Any]) -> None:
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result)


if __name__ == "__main__":
    command.run({"step": step, "inference": inference, "attention": attention})
