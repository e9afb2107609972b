"""Compiles position attention's kernels for GPUs that are not there: `make gpu-check`.

    python -m experiments.gpu_check --gpus=h100,a100 --shapes=cityscapes_sa2 --output=FILE.json

Every kernel is compiled at every named shape in every numerics, and judged by what the compiler
says: no spilled registers, no more shared memory than there is, matmuls on tensor cores, little
work beyond the least, and memory that grows with N. Where there is a GPU, the kernels also run on
it and are compared with the reference.
"""

import dataclasses
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from absl import flags
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from experiments import described_gpu
from experiments.described_gpu import attention, verdicts
from experiments.described_gpu.attention import Case, Outcome
from experiments.described_gpu.verdicts import MIB
from pallas_kernels.position_attention.shapes import SHAPES as NAMED_SHAPES
from pallas_kernels.position_attention.shapes import AttentionShape
from sassn_jax.commands import command
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console
from sassn_jax.training.progress import make_reporter

TABLE_WIDTH = 130
# Those by which memory is judged.
MEMORY_SHAPES = ("cityscapes_sa2", "n4096", "n16384", "n65536")
# Of outputs, relative to the largest; gradients may be twice as far off.
TOLERANCES = {"bfloat16": 1e-2, "tf32": 5e-3, "float32": 2e-5}

_GPUS = flags.DEFINE_list("gpus", list(described_gpu.GPUS), "GPUs to compile for.")
_SHAPES = flags.DEFINE_list("shapes", list(attention.SHAPES), "Shapes of q, k and v.")
_OUTPUT = command.define_path("output", "", "File for the figures, JSON; none if empty.")


def main() -> None:
    """Compiles, shows what came of it, and fails if anything is not as it should be."""
    _check_choice("gpus", _GPUS.value, list(described_gpu.GPUS))
    _check_choice("shapes", _SHAPES.value, list(attention.SHAPES))
    described_gpu.find_compiler()
    outcomes = compile_all(attention.cases(_GPUS.value, _SHAPES.value))
    errors = compare_on_gpu(_SHAPES.value) if _can_run() else {}

    console = make_console(width=max(Console().width, TABLE_WIDTH))
    for gpu in _GPUS.value:
        console.print(kernel_table(gpu, outcomes))
        for line in remarks(gpu, outcomes):
            console.print(line)
    console.print(memory_table(outcomes))
    if errors:
        console.print(error_table(errors))
    else:
        console.print("Not run: no GPU here.")
    lines = [line for outcome in outcomes for line in verdicts.failures(outcome)]
    lines += verdicts.growth_failures(outcomes) + error_failures(errors)
    if _OUTPUT.value:
        programs = [dataclasses.asdict(outcome) for outcome in outcomes]
        write_json(Path(_OUTPUT.value), {"programs": programs, "errors": errors, "failures": lines})
    for line in lines:
        print(line)
    if lines:
        sys.exit(1)
    print(f"gpu-check: {len(outcomes)} programs are as they should be")


def _can_run() -> bool:
    """Whether this environment has more than a compiler; if not, JAX would only complain of it."""
    return importlib.util.find_spec("nvidia.cudnn") is not None


def _check_choice(flag: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    for name in given or [""]:
        if name not in allowed:
            raise InputError(f"--{flag}: {name!r}: expected some of {', '.join(allowed)}")


def compile_all(cases: Sequence[Case]) -> list[Outcome]:
    """Compiles in as many processes as there are cores."""
    workers = ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_leave_interrupts_to_the_parent,
    )
    outcomes = []
    try:
        with make_reporter("gpu-check", len(cases)) as reporter:
            for outcome in workers.map(attention.compile_case, cases):
                outcomes.append(outcome)
                reporter.update(len(outcomes))
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    workers.shutdown()
    return outcomes


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def kernel_table(gpu: str, outcomes: Sequence[Outcome]) -> Table:
    """One row a kernel."""
    limit = described_gpu.GPUS[gpu].shared_memory // 1024
    table = Table(title=f"Kernels for {described_gpu.GPUS[gpu].device_kind}", box=SIMPLE)
    for name in ("shape", "numerics", "kernel"):
        table.add_column(name, no_wrap=True)
    for name in (
        "registers",
        "spills,\nbytes",
        f"shared memory,\nKiB of {limit}",
        "tensor-core\ninstructions",
        "scalar\nFMAs",
        "multiply-adds\nover the least",
        "scratch of\nall, MiB",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        case = outcome.case
        if case != Case(gpu, case.shape, case.numerics):
            continue
        for report in outcome.kernels:
            kernel = report.kernel
            tensor = kernel.tensor_instructions.items()
            table.add_row(
                case.shape,
                case.numerics,
                kernel.name.removeprefix("position_attention_"),
                str(kernel.registers),
                str(kernel.spills),
                f"{kernel.shared_memory / 1024:.1f}",
                ", ".join(f"{count} {name}" for name, count in tensor) or "-",
                str(kernel.multiply_adds),
                f"{report.work:.2f}",
                f"{outcome.scratch / MIB:.2f}",
            )
    return table


def remarks(gpu: str, outcomes: Sequence[Outcome]) -> list[str]:
    """What ptxas says that kernels lose speed by, a line each."""
    return [
        f"{outcome.case} {report.kernel.name}: {remark}"
        for outcome in outcomes
        if outcome.case == Case(gpu, outcome.case.shape, outcome.case.numerics)
        for report in outcome.kernels
        for remark in report.kernel.remarks
    ]


def memory_table(outcomes: Sequence[Outcome]) -> Table:
    """The programs by which memory is judged, the naive ones, and those on two devices."""
    table = Table(
        title="Scratch in device memory of forward + backward",
        caption="reference: the naive one. loss: the gradient of a sum of squares, of which the "
        "attention's output is scratch too, not a result.",
        box=SIMPLE,
    )
    table.add_column("program", no_wrap=True)
    table.add_column("scratch, MiB", justify="right")
    table.add_column("all-gathers", justify="right")
    for outcome in outcomes:
        case = outcome.case
        if case.gpu == "h100" and case.shape in MEMORY_SHAPES and not outcome.error:
            table.add_row(str(case), f"{outcome.scratch / MIB:,.2f}", str(outcome.all_gathers))
    return table


def compare_on_gpu(shapes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Runs the kernels on the GPU that is there.

    Returns:
      By shape and numerics the largest errors of the output and of the gradients, each relative to
      the largest value that the reference gives.

    Raises:
      InputError: JAX cannot use it.
    """
    import jax

    from sassn_jax.training import parallel

    parallel.check_platform()
    if jax.default_backend() != "gpu":
        raise InputError("a GPU is there, and JAX cannot use it: see what nvidia-smi says of it")
    return {
        f"{shape} {numerics}": errors("triton", attention.SHAPES[shape], numerics)
        for shape in shapes
        if shape in NAMED_SHAPES
        for numerics in attention.NUMERICS
    }


def errors(implementation: str, shape: AttentionShape, numerics: str) -> dict[str, float]:
    """Compares an implementation with the reference in true float32, on random arrays."""
    import jax
    import jax.numpy as jnp

    dtype, _ = attention.NUMERICS[numerics]
    widths = (shape.qk_width, shape.qk_width, shape.v_width, shape.v_width)
    keys = jax.random.split(jax.random.key(0), len(widths))
    arrays = [
        jax.random.normal(key, (shape.batch, shape.positions, width), dtype)
        for key, width in zip(keys, widths, strict=True)
    ]
    scale = shape.qk_width**-0.5  # scores near 1: the error of TF32 grows with them

    def run(implementation: str, numerics: str, arrays: list[jax.Array]) -> list[jax.Array]:
        attend = attention.attention(implementation, numerics, scale)
        return jax.tree.leaves(jax.jit(attention.forward_and_backward(attend))(*arrays))

    found = run(implementation, numerics, arrays)
    expected = run("reference", "float32", [x.astype(jnp.float32) for x in arrays])
    return {
        name: float(jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y)))
        for name, x, y in zip(("out", "d_q", "d_k", "d_v"), found, expected, strict=True)
    }


def error_table(errors: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a shape and numerics."""
    table = Table(title="On the GPU: largest error, relative to the largest value", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for name in ("out", "d_q", "d_k", "d_v"):
        table.add_column(name, justify="right")
    for case, values in errors.items():
        table.add_row(case, *(f"{value:.1e}" for value in values.values()))
    return table


def error_failures(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns which results are too far off, a line each."""
    lines = []
    for case, values in errors.items():
        for name, value in values.items():
            limit = TOLERANCES[case.split()[1]] * (1 if name == "out" else 2)
            if not value <= limit:  # a NaN is too far off
                lines.append(f"on the GPU: {case} {name}: error {value:.1e}, at most {limit:.0e}")
    return lines


if __name__ == "__main__":
    command.run(main)
