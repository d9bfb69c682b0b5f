"""NVIDIA's data-centre GPUs as data, and the description of one that XLA compiles for.

XLA chooses layouts, tiles and fusions by these numbers. Which cuDNN algorithm runs is decided on
the device itself.

Source: the sizes, clocks and memory rates are those of `xla/backends/gpu/target_config/specs/` in
openxla/xla, which are queried from the devices; that folder lacks the L4, whose numbers are those
of CUDA's device query. Rates of products, without sparsity, and of links, in one direction, are
those of NVIDIA's data sheets. The H100, H200, A100 and B200 are the SXM versions.
"""

from typing import NamedTuple


class Gpu(NamedTuple):
    """A GPU.

    Attributes:
      name: What NVIDIA calls it, and what JAX calls its kind.
      capability: Its compute capability, major and minor.
      cores: Its streaming multiprocessors.
      lanes: The float32 units of a core.
      clock: Cycles per second.
      threads: The most threads of a core.
      shared: Bytes of shared memory of a core.
      cache: Bytes of its second-level cache.
      memory: Bytes of its memory.
      bandwidth: Bytes per second of its memory.
      bfloat16: Operations per second of products in bfloat16.
      tf32: Operations per second of products in tf32.
      link: Bytes per second to other GPUs.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    clock: float
    threads: int
    shared: int
    cache: int
    memory: int
    bandwidth: float
    bfloat16: float
    tf32: float
    link: float

    @property
    def float32(self) -> float:
        """Operations per second in float32, two for each fused multiply and add."""
        return 2 * self.cores * self.lanes * self.clock


GPUS = {
    "a100": Gpu(
        "NVIDIA A100-SXM4-80GB", (8, 0), cores=108, lanes=64, clock=1.41e9, threads=2048,
        shared=167_936, cache=41_943_040, memory=85_100_068_864, bandwidth=2.039e12,
        bfloat16=312e12, tf32=156e12, link=300e9,
    ),
    "h100": Gpu(
        "NVIDIA H100 80GB HBM3", (9, 0), cores=132, lanes=128, clock=1.98e9, threads=2048,
        shared=233_472, cache=52_428_800, memory=84_942_979_072, bandwidth=3.352e12,
        bfloat16=989e12, tf32=494e12, link=450e9,
    ),
    "h200": Gpu(
        "NVIDIA H200", (9, 0), cores=132, lanes=128, clock=1.98e9, threads=2048,
        shared=233_472, cache=52_428_800, memory=151_397_597_184, bandwidth=4.8e12,
        bfloat16=989e12, tf32=494e12, link=450e9,
    ),
    "b200": Gpu(
        "NVIDIA B200", (10, 0), cores=148, lanes=128, clock=1.965e9, threads=2048,
        shared=233_472, cache=132_644_864, memory=191_514_411_008, bandwidth=7.672e12,
        bfloat16=2250e12, tf32=1125e12, link=900e9,
    ),
    "l4": Gpu(
        "NVIDIA L4", (8, 9), cores=58, lanes=128, clock=2.04e9, threads=1536,
        shared=102_400, cache=50_331_648, memory=23_670_685_696, bandwidth=0.300e12,
        bfloat16=121e12, tf32=60e12, link=32e9,
    ),
}  # fmt: skip

_OF_A_KERNEL = 1024  # bytes of shared memory that a block of threads cannot use

_CUDA, _CUDNN = "13.0.0", (9, 10, 0)


def target_config(gpu: Gpu) -> str:
    """The GPU as a `stream_executor.GpuTargetConfigProto` in text form."""
    major, minor = gpu.capability
    # From Hopper on, XLA compiles for the very chip and not only for its successors.
    features = "ACCELERATED_FEATURES" if major >= 9 else "NONE"
    cudnn = ".".join(map(str, _CUDNN))
    return f"""
gpu_device_info {{
  name: "{gpu.name}"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {features} }}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.lanes}
  clock_rate_ghz: {gpu.clock / 1e9}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: {gpu.threads}
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: {2**31 - 1}
  block_dim_limit_y: {2**16 - 1}
  block_dim_limit_z: {2**16 - 1}
  registers_per_core_limit: {2**16}
  registers_per_block_limit: {2**16}
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block: {48 * 1024}
  shared_memory_per_block_optin: {gpu.shared - _OF_A_KERNEL}
  reserved_shared_memory_per_block: {_OF_A_KERNEL}
  l2_cache_size: {gpu.cache}
  device_memory_size: {gpu.memory}
  memory_bandwidth: {round(gpu.bandwidth)}
  device_address_bits: 64
  ecc_enabled: true
  driver_version: "{_CUDA}"
  runtime_version: "{_CUDA}"
  compile_time_toolkit_version: "{_CUDA}"
  dnn_version: "{cudnn}"
  device_interconnect_info {{ active_links: 18 }}
  collective_memory_granularity: {2**21}
}}
platform_name: "CUDA"
dnn_version_info {{ major: {_CUDNN[0]} minor: {_CUDNN[1]} patch: {_CUDNN[2]} }}
device_description_str: "{gpu.name}"
"""
