"""Position attention's kernels, compiled for described GPUs."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from experiments.attention_shapes import SHAPES as NAMED_SHAPES
from experiments.attention_shapes import AttentionShape
from experiments.described_gpu import compiler, kernels, matmuls
from experiments.described_gpu.gpus import GPUS
from experiments.described_gpu.kernels import Kernel
from pallas_kernels.position_attention import position_attention
from sassn_jax.training import parallel

NUMERICS = {
    "bfloat16": (jnp.bfloat16, lax.Precision.DEFAULT),
    "tf32": (jnp.float32, lax.Precision.DEFAULT),
    "float32": (jnp.float32, lax.Precision.HIGHEST),
}
# They show how memory grows with N.
GROWING_SHAPES = {
    "n4096": AttentionShape(1, 4096, 256, 2048),
    "n16384": AttentionShape(1, 16384, 256, 2048),
    "n65536": AttentionShape(1, 65536, 64, 512),
}
# Queries and keys with half the features' width, and with their whole width as in the paper's text.
WIDE_SHAPES = {
    "voc_sa1_wide": AttentionShape(8, 41 * 41, 512, 1024),
    "voc_sa2_wide": AttentionShape(8, 41 * 41, 2048, 2048),
}
SHAPES = NAMED_SHAPES | WIDE_SHAPES | GROWING_SHAPES
KERNELS = tuple(f"position_attention_{x}" for x in ("forward", "d_v", "d_q", "d_k"))

Attention = Callable[[Array, Array, Array], Array]  # of q, k and v


@dataclasses.dataclass(frozen=True)
class Case:
    """One program: the forward pass and the gradients of q, k and v.

    Attributes:
      gpu: a name in `GPUS`.
      shape: a name in `SHAPES`.
      numerics: a name in `NUMERICS`.
      implementation: name of an implementation of position attention.
      loss: whether the program is the gradient of a sum of squares. The attention's output is then
        part of the scratch, not a result.
      devices: number of GPUs that share the batch.
    """

    gpu: str
    shape: str
    numerics: str
    implementation: str = "triton"
    loss: bool = False
    devices: int = 1

    def __str__(self) -> str:
        """Returns a name for the lines of a report."""
        kind = "" if self.implementation == "triton" else self.implementation
        devices = f"{self.devices} devices" if self.devices > 1 else ""
        parts = (self.gpu, self.shape, self.numerics, kind, "loss" * self.loss, devices)
        return " ".join(filter(None, parts))


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelReport:
    """A compiled kernel and its arithmetic.

    Attributes:
      kernel: as compiled.
      work: multiply-adds of its matmuls, divided by the fewest that its results take.
      smallest_matmul: multiply-adds in one tile of its smallest matmul.
    """

    kernel: Kernel
    work: float
    smallest_matmul: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a case: its kernels and bytes of scratch, or the compiler's error."""

    case: Case
    kernels: tuple[KernelReport, ...] = ()
    scratch: int = 0
    all_gathers: int = 0
    error: str = ""


def cases(gpus: Sequence[str], shapes: Sequence[str]) -> list[Case]:
    """Returns the programs to compile: every shape in every numerics on every GPU.

    For the H100 they include programs to compare memory with, and programs for two devices.
    """
    found = [
        Case(gpu, shape, numerics)
        for gpu in gpus
        for shape in shapes
        for numerics in NUMERICS
        if shape not in GROWING_SHAPES or gpu == "h100"
    ]
    if "h100" in gpus and "cityscapes_sa2" in shapes:
        like = Case("h100", "cityscapes_sa2", "tf32")
        found += [
            dataclasses.replace(like, implementation="reference"),
            dataclasses.replace(like, implementation="reference", loss=True),
            dataclasses.replace(like, loss=True),
            *(dataclasses.replace(like, numerics=n, devices=2) for n in NUMERICS),
        ]
    return found


def compile_case(case: Case) -> Outcome:
    """Compiles a case's program."""
    mesh = compiler.make_mesh(GPUS[case.gpu], case.devices)
    shape = SHAPES[case.shape]
    dtype, _ = NUMERICS[case.numerics]
    sharding = parallel.split(mesh)
    arguments = [jax.ShapeDtypeStruct(x, dtype, sharding=sharding) for x in shape.arrays()]
    attend = attention(case.implementation, case.numerics)
    function: Callable = forward_and_backward(attend)
    if case.loss:
        function = jax.grad(lambda *qkv: jnp.sum(attend(*qkv) ** 2), argnums=(0, 1, 2))
        arguments.pop()
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder)
        try:
            program = compiler.compile_for(mesh, jax.jit(function), *arguments, dump=dump)
        except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
            return Outcome(case=case, error=str(error).partition("\n")[0])
        ptxas = compiler.find_compiler() / "bin" / "ptxas"
        compiled = {kernel.name: kernel for kernel in kernels.read(dump, ptxas)}
    memory: Any = program.executable.memory_analysis()
    text: Any = program.executable.as_text()
    fewest = _fewest_multiply_adds(shape)
    return Outcome(
        case=case,
        kernels=tuple(
            KernelReport(
                kernel=compiled[name],
                work=sum(x.size * x.times for x in products) / fewest[name],
                smallest_matmul=min(x.size for x in products),
            )
            for name, products in matmuls.in_kernels(program.jaxpr).items()
            if name in compiled
        ),
        scratch=memory.temp_size_in_bytes,
        all_gathers=text.count(" all-gather"),
    )


def attention(implementation: str, numerics: str, scale: float = 1.0) -> Attention:
    """Returns position attention as a function of q, k and v."""
    _, precision = NUMERICS[numerics]
    return functools.partial(
        position_attention, scale=scale, precision=precision, implementation=implementation
    )


def forward_and_backward(attend: Attention) -> Callable[..., tuple[Array, tuple[Array, ...]]]:
    """Returns a function of q, k, v and the output's gradient: the output and all gradients."""

    def run(q: Array, k: Array, v: Array, d_out: Array) -> tuple[Array, tuple[Array, ...]]:
        out, gradients = jax.vjp(attend, q, k, v)
        return out, gradients(d_out)

    return run


def _fewest_multiply_adds(shape: AttentionShape) -> dict[str, int]:
    """Returns the fewest multiply-adds of each kernel, which all compute the scores first."""
    pairs = shape.batch * shape.positions**2
    one_sum = pairs * (shape.qk_width + shape.v_width)  # then the sum over V, or over dO for dV
    two_sums = pairs * (2 * shape.qk_width + shape.v_width)  # then dP, and the sum over K or Q
    return dict(zip(KERNELS, (one_sum, one_sum, two_sums, two_sums), strict=True))
