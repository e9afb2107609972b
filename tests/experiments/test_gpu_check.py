import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from experiments import described_gpu, gpu_check
from experiments.attention_shapes import AttentionShape
from experiments.described_gpu import attention, verdicts
from experiments.described_gpu.attention import KERNELS, Case, KernelReport, Outcome

ROOT = Path(__file__).parents[2]
CASE = Case("h100", "cityscapes_sa2", "bfloat16")
MIB = 2**20


def report(name: str = KERNELS[0], **changes) -> KernelReport:
    kernel = described_gpu.Kernel(
        name=name,
        threads=256,
        registers=200,
        spills=0,
        shared_memory=98304,
        tensor_instructions={"wgmma": 34},
        multiply_adds=78,
        remarks=(),
    )
    own = {"work": 1.33, "smallest_matmul": 64 * 32 * 256}
    own |= {key: changes.pop(key) for key in list(changes) if key in own}
    return KernelReport(kernel=dataclasses.replace(kernel, **changes), **own)


def outcome(case: Case = CASE, scratch: int = MIB, **changes) -> Outcome:
    first, *others = KERNELS
    kernels = (report(first, **changes), *(report(name) for name in others))
    return Outcome(case=case, kernels=kernels, scratch=scratch)


def float32(**changes) -> Outcome:
    case = dataclasses.replace(CASE, numerics="float32")
    kernels = [report(x, tensor_instructions={}, multiply_adds=1578, work=2.9) for x in KERNELS]
    kernels[0] = dataclasses.replace(
        kernels[0], kernel=dataclasses.replace(kernels[0].kernel, **changes)
    )
    return Outcome(case=case, kernels=tuple(kernels), scratch=MIB)


@pytest.mark.parametrize("good", [outcome(), float32()])
def test_what_is_as_it_should_be_gives_no_line(good):
    assert verdicts.failures(good) == []


def on(gpu: str, **changes) -> Outcome:
    return outcome(dataclasses.replace(CASE, gpu=gpu), **changes)


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (outcome(spills=56), "spills 56 bytes"),
        (on("rtx4090", shared_memory=131072), "131072 bytes of shared memory, the GPU has 101376"),
        # One matmul of a tile of 64 x 32 x 256, unrolled for 256 threads.
        (outcome(multiply_adds=78 + 2048), "a matmul is not on tensor cores"),
        (outcome(tensor_instructions={}), "a matmul is not on tensor cores"),
        (float32(tensor_instructions={"wgmma": 1}), "on tensor cores, which round float32"),
        (outcome(work=1.41), "1.41 times the fewest multiply-adds, at most 1.4"),
        (on("a100", work=2.01), "2.01 times the fewest multiply-adds, at most 2.0"),
        (outcome(scratch=65 * MIB), "scratch of 65.0 MiB, at most 64"),
        (
            outcome(dataclasses.replace(CASE, loss=True), scratch=132 * MIB),
            "scratch of 132.0 MiB, at most 130",  # 64, and the output of 2 x 8385 x 2048
        ),
        (Outcome(case=CASE, error="no room"), "does not compile: no room"),
        (Outcome(case=CASE, kernels=outcome().kernels[1:]), f"no kernel {KERNELS[0]}"),
        (
            dataclasses.replace(outcome(dataclasses.replace(CASE, devices=2)), all_gathers=1),
            "2 devices: 1 all-gathers, expected none",
        ),
    ],
)
def test_what_is_not_gives_a_line_that_names_it(bad, line):
    (failure,) = verdicts.failures(bad)
    assert line in failure
    assert failure.startswith(f"{bad.case.gpu} {bad.case.shape} {bad.case.numerics}")


@pytest.mark.parametrize(("growth", "lines"), [(4.5, 0), (4.6, 1)])
def test_memory_may_grow_with_the_positions_but_not_their_square(growth, lines):
    small = outcome(dataclasses.replace(CASE, shape="n4096"), scratch=1000)
    large = outcome(dataclasses.replace(CASE, shape="n16384"), scratch=round(1000 * growth))
    assert len(verdicts.growth_failures([small, large])) == lines


def test_the_cases_are_every_shape_numerics_and_gpu():
    cases = attention.cases(list(described_gpu.GPUS), list(attention.SHAPES))
    assert len(set(cases)) == len(cases)
    for gpu in described_gpu.GPUS:
        for shape in gpu_check.NAMED_SHAPES:
            for numerics in attention.NUMERICS:
                assert Case(gpu, shape, numerics) in cases
    assert Case("h100", "n65536", "bfloat16") in cases
    assert Case("h100", "cityscapes_sa2", "bfloat16", devices=2) in cases


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Returns a function that runs the command on outcomes that nothing was compiled for."""

    def run(outcomes: list[Outcome]) -> tuple[int, list[str], dict]:
        monkeypatch.setattr(described_gpu, "find_compiler", lambda: Path())
        monkeypatch.setattr(gpu_check, "_can_run", lambda: False)
        monkeypatch.setattr(gpu_check, "compile_all", lambda cases: outcomes)
        path = tmp_path / "check.json"
        flags.FLAGS(["gpu_check", "--gpus=h100", f"--output={path}"])
        try:
            gpu_check.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().out.splitlines(), json.loads(path.read_text())

    return run


def test_the_command_shows_every_kernel_and_ends_well(run):
    code, lines, written = run([outcome()])
    assert code == 0
    for kernel in KERNELS:
        name = kernel.removeprefix("position_attention_")
        (row,) = [line for line in lines if f" bfloat16   {name} " in line]
        assert {"cityscapes_sa2", "bfloat16", "200", "96.0", "wgmma", "78", "1.33"} <= {
            *row.split()
        }
    assert written["failures"] == []
    assert written["programs"][0]["kernels"][0]["kernel"]["registers"] == 200


def test_the_command_lists_failures_one_a_line_and_fails(run):
    code, lines, written = run([outcome(spills=56), outcome(scratch=65 * MIB)])
    assert code == 1
    assert len(written["failures"]) == 2
    assert lines[-2:] == written["failures"]


@pytest.mark.parametrize("numerics", attention.NUMERICS)
def test_results_are_compared_with_the_reference(numerics):
    errors = gpu_check.errors("blockwise", AttentionShape(2, 50, 16, 24), numerics)
    assert list(errors) == ["out", "d_q", "d_k", "d_v"]
    assert gpu_check.error_failures({f"small {numerics}": errors}) == []
    assert (errors["out"] > 1e-4) == (numerics == "bfloat16")  # a CPU has no TF32


def test_errors_beyond_the_tolerance_give_a_line():
    errors = {"small tf32": {"out": 6e-3, "d_q": 6e-3, "d_k": float("nan"), "d_v": 0.0}}
    out, d_k = gpu_check.error_failures(errors)
    assert "small tf32 out: error 6.0e-03, at most 5e-03" in out
    assert "d_k: error nan" in d_k


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "make gpu-check"),
        (("--gpus=v100",), "--gpus: 'v100': expected some of h100, a100, rtx4090"),
        (("--shapes=large",), "--shapes: 'large': expected some of voc_sa1"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments, message, tmp_path):
    # An environment without the compiler, whatever is installed here.
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia" / "__init__.py").touch()
    result = subprocess.run(
        [sys.executable, "-m", "experiments.gpu_check", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
