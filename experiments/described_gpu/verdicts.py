"""Requirements of position attention's kernels: a line for each that is not met."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp

from experiments.described_gpu import attention
from experiments.described_gpu.attention import KERNELS, NUMERICS, Case, KernelReport, Outcome
from experiments.described_gpu.gpus import GPUS

MIB = 2**20
MAX_SCRATCH = {"cityscapes_sa2": 64 * MIB, "n65536": 100 * MIB}
MAX_GROWTH = 4.5  # of the scratch, from n4096 to n16384


def failures(outcome: Outcome) -> list[str]:
    """Returns a line for each requirement that a case does not meet."""
    case = outcome.case
    if outcome.error:
        return [f"{case}: does not compile: {outcome.error}"]
    lines = []
    if case.implementation == "triton":
        missing = set(KERNELS) - {report.kernel.name for report in outcome.kernels}
        lines += [f"{case}: no kernel {name} in the program" for name in sorted(missing)]
        limit = MAX_SCRATCH.get(case.shape, outcome.scratch)
        if case.loss:
            shape = attention.SHAPES[case.shape]
            itemsize = jnp.dtype(NUMERICS[case.numerics][0]).itemsize
            limit += shape.batch * shape.positions * shape.v_width * itemsize
        if outcome.scratch > limit:
            lines.append(
                f"{case}: scratch of {outcome.scratch / MIB:.1f} MiB, at most {limit / MIB:.0f}"
            )
    for report in outcome.kernels:
        lines += [f"{case} {report.kernel.name}: {x}" for x in _kernel_failures(case, report)]
    if case.devices > 1 and outcome.all_gathers:
        lines.append(f"{case}: {outcome.all_gathers} all-gathers, expected none")
    return lines


def growth_failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a line for each program whose memory grows faster than the number of positions."""
    scratch = {outcome.case: outcome.scratch for outcome in outcomes if not outcome.error}
    lines = []
    for case, large in scratch.items():
        small = scratch.get(dataclasses.replace(case, shape="n4096"))
        if case.shape == "n16384" and small and large > MAX_GROWTH * small:
            lines.append(
                f"{case}: {large / small:.1f} times the scratch of n4096, at most {MAX_GROWTH}"
            )
    return lines


def _kernel_failures(case: Case, report: KernelReport) -> list[str]:
    kernel, lines = report.kernel, []
    if kernel.spills:
        lines.append(f"spills {kernel.spills} bytes, expected none")
    if kernel.shared_memory > GPUS[case.gpu].shared_memory:
        lines.append(
            f"{kernel.shared_memory} bytes of shared memory, the GPU has "
            f"{GPUS[case.gpu].shared_memory}"
        )
    # The compiler unrolls a matmul on the ordinary units: the text, times the threads, then has all
    # multiply-adds of a tile, K for each element of the result. Everything else in a kernel, such
    # as the scale of the scores, takes one for each element.
    scalar = kernel.multiply_adds * kernel.threads
    if case.numerics == "float32":
        if kernel.tensor_instructions:
            lines.append("multiplies on tensor cores, which round float32")
    elif not kernel.tensor_instructions or scalar >= report.smallest_matmul:
        lines.append(
            f"a matmul is not on tensor cores: {scalar} scalar multiply-adds, and its smallest "
            f"matmul takes {report.smallest_matmul}"
        )
    limit = _max_work(case, kernel.name)
    if report.work > limit:
        lines.append(f"{report.work:.2f} times the fewest multiply-adds, at most {limit}")
    return lines


def _max_work(case: Case, kernel: str) -> float:
    """Returns the largest allowed ratio of a kernel's multiply-adds to the fewest possible."""
    if case.shape in attention.WIDE_SHAPES:
        return math.inf
    if case.numerics == "float32":
        return 3.0
    if (case.gpu, case.numerics, kernel) == ("h100", "bfloat16", KERNELS[0]):
        return 1.4
    return 2.0
