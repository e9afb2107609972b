"""What XLA must know of a GPU to compile for it, from NVIDIA's data sheets and device queries.

Peaks are those of dense matrix products summed in float32. Those of the H100 (SXM) and the A100 are
from their data sheets, those of the RTX 4090 from the white paper of Ada. Those of the RTX 3060 are
its clock times the FLOPs of a core in a cycle: 512, 256 and 256 in the white paper of Ampere's
GeForce cards. Networks between machines are those of the data sheets of DGX H100 and DGX A100, with
an adapter of 400 and of 200 Gbit/s for each GPU.
"""

import dataclasses
from collections.abc import Mapping

from sassn_jax.errors import InputError

MACHINE = 8  # the most GPUs in a machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """One model of GPU.

    Attributes:
      device_kind: the name that the driver gives it.
      capability: compute capability, major and minor.
      cores: streaming multiprocessors (SMs).
      lanes: float32 units of a core.
      threads: the most that run on a core at once.
      shared_memory: bytes that one block of threads may ask for ("opt-in").
      l2_cache: bytes.
      memory: bytes.
      memory_bandwidth: bytes a second.
      clock_ghz: the highest clock.
      link_bandwidth: bytes a second that it sends to others of its kind in one machine, over NVLink
        or, where it has none, PCIe 4.0.
      network_bandwidth: bytes a second that a machine with `MACHINE` of them sends to others; 0 for
        a card of which NVIDIA builds no such machine.
      peaks: the most FLOPs a second by numerics, see `matmuls.Numerics`.
    """

    device_kind: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    threads: int
    shared_memory: int
    l2_cache: int
    memory: int
    memory_bandwidth: int
    clock_ghz: float
    link_bandwidth: int
    network_bandwidth: int
    peaks: Mapping[str, float]

    def check_count(self, count: int, flag: str) -> None:
        """Raises InputError where there are no machines with that many GPUs in all.

        Args:
          count: of GPUs.
          flag: that gave it.
        """
        if count < 1 or (count > MACHINE and (count % MACHINE or not self.network_bandwidth)):
            more = f", or a multiple of {MACHINE} in several" if self.network_bandwidth else ""
            raise InputError(
                f"{flag}={count}: expected 1 to {MACHINE} {self.device_kind} in one machine{more}"
            )

    def ring_bandwidth(self, devices: int) -> float:
        """Returns the bytes a second that each of some GPUs can send to the next one of a ring.

        A ring through several machines enters and leaves each of them once, over its whole network.
        """
        if devices <= MACHINE:
            return self.link_bandwidth
        return min(self.link_bandwidth, self.network_bandwidth)

    def target_config(self) -> str:
        """Returns the description that XLA reads: a GpuTargetConfigProto as text."""
        major, minor = self.capability
        facts = {
            "core_count": self.cores,
            "fpus_per_core": self.lanes,
            "threads_per_core_limit": self.threads,
            "shared_memory_per_core": self.shared_memory + 1024,  # CUDA takes 1 KiB for a block
            "shared_memory_per_block_optin": self.shared_memory,
            "l2_cache_size": self.l2_cache,
            "device_memory_size": self.memory,
            "memory_bandwidth": self.memory_bandwidth,
            "clock_rate_ghz": self.clock_ghz,
            # The rest is the same in every generation since Ampere.
            "threads_per_warp": 32,
            "threads_per_block_limit": 1024,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "registers_per_core_limit": 2**16,
            "registers_per_block_limit": 2**16,
            "shared_memory_per_block": 48 * 1024,  # without asking for more
            "cuda_compute_capability": f"{{ major: {major} minor: {minor} }}",
        }
        lines = "\n".join(f"  {name}: {value}" for name, value in facts.items())
        return (
            f"gpu_device_info {{\n{lines}\n}}\n"
            'platform_name: "CUDA"\n'
            "dnn_version_info { major: 9 minor: 10 }\n"
            "runtime_version { major: 13 }\n"
            f'device_description_str: "{self.device_kind}"\n'
        )


GPUS = {
    "h100": Gpu(
        device_kind="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        lanes=128,
        threads=2048,
        shared_memory=227 * 1024,
        l2_cache=50 * 2**20,
        memory=84_929_347_584,
        memory_bandwidth=3_352_320_000_000,
        clock_ghz=1.98,
        link_bandwidth=450_000_000_000,
        network_bandwidth=400_000_000_000,
        peaks={"bfloat16": 989.4e12, "tf32": 494.7e12, "float32": 66.9e12},
    ),
    "a100": Gpu(
        device_kind="NVIDIA A100-SXM4-40GB",
        capability=(8, 0),
        cores=108,
        lanes=64,
        threads=2048,
        shared_memory=163 * 1024,
        l2_cache=40 * 2**20,
        memory=42_331_013_120,
        memory_bandwidth=1_555_200_000_000,
        clock_ghz=1.41,
        link_bandwidth=300_000_000_000,
        network_bandwidth=200_000_000_000,
        peaks={"bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    ),
    "rtx4090": Gpu(
        device_kind="NVIDIA GeForce RTX 4090",
        capability=(8, 9),
        cores=128,
        lanes=128,
        threads=1536,
        shared_memory=99 * 1024,
        l2_cache=72 * 2**20,
        memory=24_564 * 2**20,
        memory_bandwidth=1_008_096_000_000,
        clock_ghz=2.52,
        link_bandwidth=31_500_000_000,
        network_bandwidth=0,
        peaks={"bfloat16": 165.2e12, "tf32": 82.6e12, "float32": 82.6e12},
    ),
    # As much memory as the paper's Titan X, whose generation the compiler no longer knows.
    "rtx3060": Gpu(
        device_kind="NVIDIA GeForce RTX 3060",
        capability=(8, 6),
        cores=28,
        lanes=128,
        threads=1536,
        shared_memory=99 * 1024,
        l2_cache=3 * 2**20,
        memory=12_288 * 2**20,
        memory_bandwidth=360_000_000_000,
        clock_ghz=1.777,
        link_bandwidth=31_500_000_000,
        network_bandwidth=0,
        peaks={"bfloat16": 25.5e12, "tf32": 12.7e12, "float32": 12.7e12},
    ),
}
