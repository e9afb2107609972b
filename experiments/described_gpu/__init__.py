"""Programs compiled for NVIDIA GPUs that are not there, and what the compiler says of them.

XLA needs a description of a GPU, not the GPU, to compile for it. What comes back is exact: the
program's memory, and registers, spills, shared memory and instructions of every kernel. Speed does
not.

    mesh = described_gpu.make_mesh(described_gpu.GPUS["h100"])
    program = described_gpu.compile_for(mesh, jax.jit(function), *shapes, dump=folder)
    program.executable.memory_analysis()
"""

from experiments.described_gpu.compiler import Program, compile_for, find_compiler, make_mesh
from experiments.described_gpu.gpus import GPUS, Gpu
from experiments.described_gpu.kernels import Kernel

__all__ = ["GPUS", "Gpu", "Kernel", "Program", "compile_for", "find_compiler", "make_mesh"]
