"""What XLA must know of a GPU to compile for it, from NVIDIA's data sheets and device queries."""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """One model of GPU.

    Attributes:
      device_kind: the name that its driver gives it.
      capability: of its generation, major and minor.
      cores: streaming multiprocessors, NVIDIA's SMs.
      lanes: float32 units of a core.
      threads: at once on a core.
      shared_memory_per_core: bytes.
      shared_memory: bytes that one block of threads may have, if it asks ("opt-in").
      l2_cache: bytes.
      memory: bytes.
      memory_bandwidth: bytes a second.
      clock_ghz: the highest.
    """

    device_kind: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    threads: int
    shared_memory_per_core: int
    shared_memory: int
    l2_cache: int
    memory: int
    memory_bandwidth: int
    clock_ghz: float

    def target_config(self) -> str:
        """The description as XLA reads it: a GpuTargetConfigProto in text."""
        major, minor = self.capability
        facts = {
            "core_count": self.cores,
            "fpus_per_core": self.lanes,
            "threads_per_core_limit": self.threads,
            "shared_memory_per_core": self.shared_memory_per_core,
            "shared_memory_per_block_optin": self.shared_memory,
            "l2_cache_size": self.l2_cache,
            "device_memory_size": self.memory,
            "memory_bandwidth": self.memory_bandwidth,
            "clock_rate_ghz": self.clock_ghz,
            **_COMMON,
        }
        lines = "\n".join(f"  {name}: {value}" for name, value in facts.items())
        return (
            f"gpu_device_info {{\n{lines}\n"
            f"  cuda_compute_capability {{ major: {major} minor: {minor} }}\n}}\n"
            'platform_name: "CUDA"\n'
            "dnn_version_info { major: 9 minor: 10 }\n"
            "runtime_version { major: 13 }\n"
            f'device_description_str: "{self.device_kind}"\n'
        )


# The same for every generation since Ampere.
_COMMON = {
    "threads_per_warp": 32,
    "threads_per_block_limit": 1024,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 2**16 - 1,
    "block_dim_limit_z": 2**16 - 1,
    "registers_per_core_limit": 2**16,
    "registers_per_block_limit": 2**16,
    "shared_memory_per_block": 48 * 1024,  # without asking for more
}

GPUS = {
    "h100": Gpu(
        device_kind="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        cores=132,
        lanes=128,
        threads=2048,
        shared_memory_per_core=228 * 1024,
        shared_memory=227 * 1024,
        l2_cache=50 * 2**20,
        memory=84_929_347_584,
        memory_bandwidth=3_352_320_000_000,
        clock_ghz=1.98,
    ),
    "a100": Gpu(
        device_kind="NVIDIA A100-SXM4-40GB",
        capability=(8, 0),
        cores=108,
        lanes=64,
        threads=2048,
        shared_memory_per_core=164 * 1024,
        shared_memory=163 * 1024,
        l2_cache=40 * 2**20,
        memory=42_331_013_120,
        memory_bandwidth=1_555_200_000_000,
        clock_ghz=1.41,
    ),
    "rtx4090": Gpu(
        device_kind="NVIDIA GeForce RTX 4090",
        capability=(8, 9),
        cores=128,
        lanes=128,
        threads=1536,
        shared_memory_per_core=100 * 1024,
        shared_memory=99 * 1024,
        l2_cache=72 * 2**20,
        memory=24_564 * 2**20,
        memory_bandwidth=1_008_096_000_000,
        clock_ghz=2.52,
    ),
}
