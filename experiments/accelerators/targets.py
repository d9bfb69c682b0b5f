"""The devices that programs are compiled for, by name; none of them needs to be there.

    h100, h200, a100, b200, l4          one GPU
    8xh100                              eight GPUs of one machine
    v4, v5e, v5p, v6e                   one TPU
    v5e:2x4                             the TPUs of a topology, eight here

XLA's compilers for GPUs and TPUs come with JAX's plugins, `pip install "jax[cuda13-local,tpu]"`.
They need no device, no driver and none of NVIDIA's libraries.
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from ..command_line.errors import UserError, require
from .gpus import GPUS, target_config
from .roofline import LAUNCH, Rates

AXIS = "data"  # of the mesh; batches are split along it

# In large copies and products, a GPU reaches these fractions of the rates in its data sheet.
_MEMORY, _PRODUCTS = 0.9, 0.8

# Bytes per second of memory, operations per second of products in bfloat16, bytes per second to the
# other chips, and the least topology. Source: memory and products are what XLA's own estimates for
# a pass over a large array and for a large product come to; the links are those of Google Cloud's
# pages on the TPU versions. A v4 chip is two devices.
_TPUS: dict[str, tuple[float, float, float, str]] = {
    "v4": (0.491e12, 137e12, 135e9, "2x2x1"),
    "v5e": (0.738e12, 197e12, 180e9, "2x2"),
    "v5p": (2.350e12, 394e12, 540e9, "2x2x1"),
    "v6e": (1.638e12, 918e12, 360e9, "2x2"),
}

NAMES = (*GPUS, *_TPUS)


@dataclass(frozen=True)
class Target:
    """Devices that programs are compiled for.

    Attributes:
      name: The name that the user gave.
      platform: "gpu" or "tpu".
      kind: The name of the device's kind in JAX.
      rates: What limits a program on one of the devices.
      mesh: The devices, along the axis "data".
    """

    name: str
    platform: str
    kind: str
    rates: Rates
    mesh: Mesh


def target(name: str) -> Target:
    """The devices of this name.

    Raises:
      UserError: The name is unknown, or the compiler for the platform is not installed.
    """
    found = re.fullmatch(r"(?:([1-9]\d*)x)?(\w+)", name.lower())
    if found and found[2] in GPUS:
        return _gpus(name, found[2], int(found[1] or 1))
    found = re.fullmatch(r"(\w+)(?::(\d+(?:x\d+)+))?", name.lower())
    if found and found[1] in _TPUS:
        return _tpus(name, found[1], found[2])
    raise UserError(
        f"--target must be one of {', '.join(NAMES)}, or several such as 8xh100 and v5e:2x4; "
        f"got {name!r}."
    )


def _gpus(name: str, gpu: str, count: int) -> Target:
    _require_compiler(name, "a GPU", _CUDA, "cuda13-local")
    # Slices, machines in a slice, devices in a machine.
    devices = _devices(
        "gpu", "cuda", name, target_config=target_config(GPUS[gpu]), topology=f"1x1x{count}"
    )
    return _target(name, "gpu", devices, _gpu_rates(GPUS[gpu]))


def _tpus(name: str, version: str, topology: str | None) -> Target:
    _require_compiler(name, "a TPU", ("libtpu",), "tpu")
    for variable, value in _LIBTPU.items():
        os.environ.setdefault(variable, value)
    devices = _devices(f"{version}:{topology or _TPUS[version][3]}", "tpu", name)
    return _target(name, "tpu", devices if topology else devices[:1], _tpu_rates(version))


_CUDA = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")
# Otherwise libtpu asks the cloud's metadata server where it runs, and says so at length; and one
# process alone may load it, because it might use the device.
_LIBTPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # of this machine; topologies have their own
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_MIN_LOG_LEVEL": "4",
    "TPU_STDERR_LOG_LEVEL": "4",
}


def _require_compiler(name: str, kind: str, modules: Sequence[str], extra: str) -> None:
    require(
        any(_is_installed(module) for module in modules),
        f'--target {name}: the compiler for {kind} is not installed: pip install "jax[{extra}]".',
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def _devices(topology_name: str, platform: str, name: str, **options: Any) -> list[Any]:
    try:
        found = topologies.get_topology_desc(topology_name, platform, **options)
    except Exception as error:  # the plugin's; most often the topology does not exist
        raise UserError(f"--target {name}: {str(error).splitlines()[0]}") from error
    return list(found.devices)


def _target(name: str, platform: str, devices: list[Any], rates: Rates) -> Target:
    mesh = Mesh(np.array(devices), (AXIS,))
    return Target(name, platform, devices[0].device_kind, rates, mesh)


def _gpu_rates(gpu) -> Rates:
    products = {
        "bfloat16": _PRODUCTS * gpu.bfloat16,
        "tf32": _PRODUCTS * gpu.tf32,
        "float32": _PRODUCTS * gpu.float32,
    }
    return Rates(_MEMORY * gpu.bandwidth, products, gpu.float32, gpu.link, LAUNCH["gpu"])


def _tpu_rates(version: str) -> Rates:
    bandwidth, bfloat16, link, _ = _TPUS[version]
    # By default a TPU multiplies float32 in one pass of bfloat16, exactly in six.
    products = {"bfloat16": bfloat16, "tf32": bfloat16, "float32": bfloat16 / 6}
    return Rates(bandwidth, products, bfloat16, link, LAUNCH["tpu"])
