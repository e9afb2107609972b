"""Compiles a JAX program for described GPUs."""

import dataclasses
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.extend.core import Jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.described_gpu.gpus import MACHINE, Gpu
from sassn_jax.errors import InputError
from sassn_jax.training import parallel


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program, which cannot run here, and the jaxpr that it was traced to."""

    executable: jax.stages.Compiled
    jaxpr: Jaxpr


def find_compiler() -> Path:
    """Returns the folder of NVIDIA's compiler.

    Raises:
      InputError: it is not installed.
    """
    nvidia = importlib.util.find_spec("nvidia")
    folders = [Path(x) / "cu13" for x in (nvidia and nvidia.submodule_search_locations) or ()]
    cuda = next((x for x in folders if (x / "bin" / "ptxas").is_file()), None)
    if cuda is None or importlib.util.find_spec("jax_plugins.xla_cuda13") is None:
        raise InputError(
            "no compiler for GPUs in this Python environment: `make plan FLAGS='--config=... "
            "--gpu=...'` and `make gpu-check` make one that has it, beside the project's own"
        )
    return cuda


def make_mesh(gpu: Gpu, devices: int = 1) -> Mesh:
    """Returns a mesh of such GPUs, with the axes of a run on as many devices.

    Call it before JAX uses a device: it hides the machine's own GPUs from JAX.

    Args:
      gpu: the model.
      devices: up to `MACHINE`, in one machine, or a multiple of it, in several machines.

    Raises:
      InputError: the compiler is not installed.
    """
    find_compiler()
    # JAX would check the driver's version, but there may be no driver. And it would take memory of
    # the machine's own GPUs, which are not the described ones.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A program from the cache lacks the texts that `compile_for` reads.
    jax.config.update("jax_enable_compilation_cache", False)
    machines = -(-devices // MACHINE)
    topology = topologies.get_topology_desc(
        "",
        platform="cuda",
        target_config=gpu.target_config(),
        topology=f"1x{machines}x{devices // machines}",
    )
    return parallel.mesh_of(topology.devices)


def compile_for(
    mesh: Mesh,
    function: jax.stages.Wrapped,
    *arguments: Any,
    dump: Path,
    options: Mapping[str, Any] | None = None,
) -> Program:
    """Compiles a jitted function for the GPUs of a mesh.

    Args:
      mesh: from `make_mesh`.
      function: from `jax.jit`. It finds the described GPU in the abstract mesh in use, as the
        Triton kernels do.
      *arguments: pytrees of `jax.ShapeDtypeStruct`; those without a sharding are replicated.
      dump: an empty folder, for the texts that XLA writes about the program.
      options: further options of XLA.

    Raises:
      jax.errors.JaxRuntimeError: a kernel does not compile, or asks for more shared memory than
        the GPU has.
    """
    cuda = find_compiler()
    replicated = NamedSharding(mesh, PartitionSpec())
    arguments = jax.tree.map(
        lambda x: x if x.sharding else x.update(sharding=replicated), arguments
    )
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = function.trace(*arguments)
        executable = traced.lower(lowering_platforms=("cuda",)).compile(
            {
                "xla_dump_to": str(dump),
                "xla_gpu_cuda_data_dir": str(cuda),
                "xla_gpu_autotune_level": 0,  # autotuning would run kernels
                **(options or {}),
            }
        )
    return Program(executable, traced.jaxpr.jaxpr)
