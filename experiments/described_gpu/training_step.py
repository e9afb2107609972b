"""The memory and the least time of a config's training step, compiled for a described GPU."""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.described_gpu import collectives, compiler, hlo, matmuls
from experiments.described_gpu.gpus import Gpu
from sassn_jax import data, methods
from sassn_jax.config import Config
from sassn_jax.devices import check_platform
from sassn_jax.training import parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What each GPU that shares a batch does in a step.

    Attributes:
      devices: number of GPUs that share a batch.
      parameters: number of parameters of each network in training.
      flops: FLOPs of matmuls and convolutions by numerics, without those that XLA does twice.
      recomputed: number of results that XLA computes twice by its own choice, to save memory.
      traffic: bytes that it must read from device memory and write to it, see `hlo.traffic`.
      sent: what it sends to the others, by the kind of the exchange.
      arguments: bytes of the state and a batch, and of results that do not replace them in place.
      scratch: bytes of everything else, including the program itself.
      attention: bytes of the scratch that position attention holds at the peak of memory.
    """

    devices: int
    parameters: Mapping[str, int]
    flops: Mapping[matmuls.Numerics, float]
    recomputed: int
    traffic: int
    sent: Mapping[collectives.Kind, collectives.Sent]
    arguments: int
    scratch: int
    attention: int

    @property
    def memory(self) -> int:
        """Bytes that the step takes."""
        return self.arguments + self.scratch

    @property
    def bytes_sent(self) -> int:
        """Bytes that it sends to the others."""
        return sum(x.size for x in self.sent.values())

    def least_seconds(self, gpu: Gpu) -> dict[str, float]:
        """Returns the seconds of each unit of the GPU at its peak. The longest bounds the step."""
        return {
            "compute": sum(flops / gpu.peaks[name] for name, flops in self.flops.items()),
            "memory": self.traffic / gpu.memory_bandwidth,
            "link": self.bytes_sent / gpu.ring_bandwidth(self.devices),
        }


def compile_step(config: Config, gpu: Gpu, devices: int, *, unlabeled: bool) -> Step:
    """Compiles a config's step.

    Args:
      config: a valid config without initial weights.
      gpu: the GPU to compile for.
      devices: number of GPUs that share a batch.
      unlabeled: whether the batch has unlabelled images.

    Raises:
      InputError: the compiler is not installed; the dataset is unknown, or is the user's own and is
        not prepared.
    """
    method = methods.create(
        config, len(data.class_names(config.dataset, config.data_dir, config.source, config.files))
    )
    mesh = compiler.make_mesh(gpu, devices)
    check_platform()
    state = jax.eval_shape(method.init, jax.random.key(0), _batch(config, mesh, unlabeled=False))
    shardings = parallel.state_shardings(state, mesh, shard_params=config.parallel.shard_params)
    state = jax.tree.map(lambda x, sharding: x.update(sharding=sharding), state, shardings)
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder)
        program = compiler.compile_for(
            mesh,
            parallel.jit_step(method, mesh, shardings),
            state,
            _batch(config, mesh, unlabeled=unlabeled, valid=method.takes_valid),
            dump=dump,
            # Without autotuning XLA may choose tiles for Triton's matmuls that do not exist.
            options={"xla_gpu_enable_triton_gemm": False},
        )
        text: Any = program.executable.as_text()
        module = hlo.parse(text)
        live = hlo.live_at_peak(module, dump)
    memory: Any = program.executable.memory_analysis()
    multiply_adds = matmuls.in_program(program.jaxpr)
    return Step(
        devices=devices,
        parameters={
            name: sum(x.size for x in jax.tree.leaves(network.params))
            for name, network in vars(state).items()
            if isinstance(network, methods.NetworkState)
        },
        flops={numerics: 2 * count / devices for numerics, count in multiply_adds.items()},
        recomputed=hlo.count_recomputed(module),
        traffic=hlo.traffic(module, gpu.l2_cache),
        sent=collectives.by_kind(collectives.find(module, devices)),
        arguments=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        scratch=memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        attention=sum(size for origin, size in live.items() if "/attention" in origin),
    )


def _batch(config: Config, mesh: Mesh, *, unlabeled: bool, valid: bool = False) -> methods.Batch:
    """Shapes of a batch, split over a mesh."""
    array = functools.partial(jax.ShapeDtypeStruct, sharding=parallel.split(mesh))
    return data.batch_spec(
        array, config.batch_size, config.crop_size, unlabeled=unlabeled, valid=valid
    )
