"""Compiles programs for NVIDIA GPUs that need not be there, and reads what the compiler reports.

To compile for a GPU, XLA needs only a description of it. The compiler then reports exactly how much
memory the program takes, and the registers, spills, shared memory and instructions of every kernel.
It does not report speed.

    mesh = described_gpu.make_mesh(described_gpu.GPUS["h100"])
    program = described_gpu.compile_for(mesh, jax.jit(function), *shapes, dump=folder)
    program.executable.memory_analysis()
"""

from experiments.described_gpu.compiler import Program, compile_for, find_compiler, make_mesh
from experiments.described_gpu.gpus import GPUS, Gpu
from experiments.described_gpu.kernels import Kernel

__all__ = ["GPUS", "Gpu", "Kernel", "Program", "compile_for", "find_compiler", "make_mesh"]
