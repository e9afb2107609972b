"""Compiles position attention's kernels for GPUs that need not be there: `make gpu-check`.

    python -m experiments.gpu_check --gpus=h100,a100 --shapes=cityscapes_sa2 --output=FILE.json

Compiles every kernel at every named shape in every numerics and judges the compiler's report: no
spilled registers, no more shared memory than the GPU has, matmuls on tensor cores, little more than
the fewest multiply-adds, and memory that grows with N. Where there is a GPU, the kernels also run
on it and are compared with the reference.
"""

import dataclasses
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from experiments import described_gpu
from experiments.attention_shapes import SHAPES as NAMED_SHAPES
from experiments.attention_shapes import AttentionShape
from experiments.described_gpu import attention, verdicts
from experiments.described_gpu.attention import Case, KernelReport, Outcome
from experiments.described_gpu.verdicts import MIB
from sassn_jax.commands import command
from sassn_jax.devices import check_platform
from sassn_jax.errors import InputError
from sassn_jax.files import write_json
from sassn_jax.terminal import make_console
from sassn_jax.training.progress import make_reporter

TABLE_WIDTH = 130
MEMORY_SHAPES = ("cityscapes_sa2", *attention.GROWING_SHAPES)  # by which memory is judged
RESULTS = ("out", "d_q", "d_k", "d_v")
# The largest error of an output, relative to the largest value. Gradients may have twice that.
TOLERANCES = {"bfloat16": 1e-2, "tf32": 5e-3, "float32": 2e-5}

_GPUS = flags.DEFINE_list("gpus", list(described_gpu.GPUS), "GPUs to compile for.")
_SHAPES = flags.DEFINE_list("shapes", list(attention.SHAPES), "Shapes of q, k and v.")
_OUTPUT = command.define_path("output", "", "File for the figures, JSON; none if empty.")


def main() -> None:
    """Compiles the kernels, prints the reports, and fails if a requirement is not met."""
    command.check_names(_GPUS, described_gpu.GPUS)
    command.check_names(_SHAPES, attention.SHAPES)
    described_gpu.find_compiler()
    outcomes = compile_all(attention.cases(_GPUS.value, _SHAPES.value))
    errors = compare_on_gpu(_SHAPES.value) if _can_run() else {}

    console = make_console(width=max(Console().width, TABLE_WIDTH))
    for gpu in _GPUS.value:
        console.print(kernel_table(gpu, outcomes), *remarks(gpu, outcomes), sep="\n")
    console.print(memory_table(outcomes))
    console.print(error_table(errors) if errors else "Not run: no GPU here.")
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
    """Whether this environment can run programs on a GPU, and not only compile them."""
    return importlib.util.find_spec("nvidia.cudnn") is not None


def compile_all(cases: Sequence[Case]) -> list[Outcome]:
    """Compiles all cases, in one process for each core."""
    workers = ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # leaves Ctrl-C to the parent
        initargs=(signal.SIGINT, signal.SIG_IGN),
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


def kernel_table(gpu: str, outcomes: Sequence[Outcome]) -> Table:
    """Returns a table with a row for each kernel."""
    limit = described_gpu.GPUS[gpu].shared_memory // 1024
    columns: dict[str, Callable[[Outcome, KernelReport], str]] = {
        "registers": lambda _, x: str(x.kernel.registers),
        "spills,\nbytes": lambda _, x: str(x.kernel.spills),
        f"shared memory,\nKiB of {limit}": lambda _, x: f"{x.kernel.shared_memory / 1024:.1f}",
        "tensor-core\ninstructions": lambda _, x: (
            ", ".join(f"{count} {name}" for name, count in x.kernel.tensor_instructions.items())
            or "-"
        ),
        "scalar\nFMAs": lambda _, x: str(x.kernel.multiply_adds),
        "multiply-adds\nover the least": lambda _, x: f"{x.work:.2f}",
        "scratch of\nall, MiB": lambda outcome, _: f"{outcome.scratch / MIB:.2f}",
    }
    table = Table(title=f"Kernels for {described_gpu.GPUS[gpu].device_kind}", box=SIMPLE)
    for name in ("shape", "numerics", "kernel"):
        table.add_column(name, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for outcome, report in _reports(gpu, outcomes):
        case, kernel = outcome.case, report.kernel.name.removeprefix("position_attention_")
        cells = (cell(outcome, report) for cell in columns.values())
        table.add_row(case.shape, case.numerics, kernel, *cells)
    return table


def remarks(gpu: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a line for each loss of speed that ptxas reports."""
    return [
        f"{outcome.case} {report.kernel.name}: {remark}"
        for outcome, report in _reports(gpu, outcomes)
        for remark in report.kernel.remarks
    ]


def _reports(gpu: str, outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, KernelReport]]:
    """Yields the kernels of the ordinary programs for a GPU, and their programs."""
    for outcome in outcomes:
        if outcome.case == Case(gpu, outcome.case.shape, outcome.case.numerics):
            yield from ((outcome, report) for report in outcome.kernels)


def memory_table(outcomes: Sequence[Outcome]) -> Table:
    """Returns a table of the programs that memory is judged by or compared with."""
    table = Table(
        title="Scratch in device memory of forward + backward",
        caption="reference: the plain definition. loss: the gradient of a sum of squares, where "
        "the attention's output is scratch and not a result.",
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
    """Runs the kernels on this machine's GPU.

    Returns:
      For each shape and numerics the largest errors of the output and the gradients, each relative
      to the largest value of the reference.

    Raises:
      InputError: JAX cannot use the GPU.
    """
    check_platform()
    if jax.default_backend() != "gpu":
        raise InputError("JAX cannot use the GPU of this machine: see what nvidia-smi reports")
    return {
        f"{shape} {numerics}": errors("triton", attention.SHAPES[shape], numerics)
        for shape in shapes
        if shape in NAMED_SHAPES
        for numerics in attention.NUMERICS
    }


def errors(implementation: str, shape: AttentionShape, numerics: str) -> dict[str, float]:
    """Returns an implementation's errors against the reference in true float32."""
    dtype, _ = attention.NUMERICS[numerics]
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = [jax.random.normal(*x, dtype) for x in zip(keys, shape.arrays(), strict=True)]
    scale = shape.qk_width**-0.5  # keeps scores near 1, since TF32's error grows with them

    def run(implementation: str, numerics: str, arrays: list[jax.Array]) -> list[jax.Array]:
        attend = attention.attention(implementation, numerics, scale)
        return jax.tree.leaves(jax.jit(attention.forward_and_backward(attend))(*arrays))

    found = run(implementation, numerics, arrays)
    expected = run("reference", "float32", [x.astype(jnp.float32) for x in arrays])
    return {
        name: float(jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y)))
        for name, x, y in zip(RESULTS, found, expected, strict=True)
    }


def error_table(errors: Mapping[str, Mapping[str, float]]) -> Table:
    """Returns a table with a row for each shape and numerics."""
    table = Table(title="On the GPU: largest error, relative to the largest value", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for name in RESULTS:
        table.add_column(name, justify="right")
    for case, values in errors.items():
        table.add_row(case, *(f"{value:.1e}" for value in values.values()))
    return table


def error_failures(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns a line for each result whose error is too large."""
    lines = []
    for case, values in errors.items():
        for name, value in values.items():
            limit = TOLERANCES[case.split()[1]] * (1 if name == "out" else 2)
            if not value <= limit:  # also for NaN
                lines.append(f"on the GPU: {case} {name}: error {value:.1e}, at most {limit:.0e}")
    return lines


if __name__ == "__main__":
    command.run(main)
