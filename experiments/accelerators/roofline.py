"""How long a program takes at the least, from what its kernels read, write and compute.

The time of a kernel is the longest of three: its bytes by the rate of the memory, its products by
that of the matrix units, and its other operations by that of the vector units. On a GPU the launch
of each kernel adds to it. A collective takes the bytes that a ring sends by the rate of the link.

For a TPU the estimate is XLA's own, `cost_analysis()["optimal_seconds"]`, which is such a roofline
as well. It adds -1 second for an instruction that it cannot estimate, which is taken out again, and
it believes what the author of a Pallas kernel declares. If a Pallas kernel takes longer by its
operands and results than it declares, the difference is added.

An estimate is a floor: a kernel takes at least that long if its arrays come from memory, and a good
one not much longer. It says nothing about how well a kernel is written, nor about caches: an H100
keeps 50 MB, and a TPU's compiler keeps arrays on the chip.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from .kernels import COLLECTIVES, Kernel, kernels
from .program import parse

# Seconds between two kernels of a program. On a TPU a program is one kernel.
LAUNCH = {"gpu": 2e-6, "tpu": 0.0}


class Rates(NamedTuple):
    """What limits a program on a device.

    Attributes:
      bytes: Bytes per second of its memory.
      products: Operations per second of its matrix units, by precision.
      operations: Other operations per second.
      link: Bytes per second to the other devices.
      launch: Seconds that each kernel adds.
    """

    bytes: float
    products: Mapping[str, float]
    operations: float
    link: float
    launch: float

    def seconds(self, kernel: Kernel, devices: int = 1) -> float:
        """The estimate for all runs of a kernel."""
        if kernel.kind in COLLECTIVES:
            sent = _sent(kernel, devices) / self.link
            return kernel.runs * (sent + self.launch)
        work = max(
            kernel.moved / self.bytes,
            kernel.products / self.products[kernel.precision],
            kernel.operations / self.operations,
        )
        return kernel.runs * (work + self.launch)


class Estimate(NamedTuple):
    """A compiled program and its estimated time.

    Attributes:
      seconds: The estimated time.
      kernels: Its kernels, in the order of the schedule.
      temporary: Bytes that it allocates besides its arguments and results.
    """

    seconds: float
    kernels: tuple[Kernel, ...]
    temporary: int

    @property
    def moved(self) -> int:
        """Bytes that the kernels read and write."""
        return sum(kernel.runs * kernel.moved for kernel in self.kernels)


def estimate(compiled: Any, rates: Rates, platform: str, devices: int = 1) -> Estimate:
    """Estimate a program that JAX has compiled.

    Args:
      compiled: What `jax.jit(f).lower(...).compile()` returns.
      rates: Those of one device.
      platform: "gpu", or "tpu" for XLA's own estimate.
      devices: The number of devices that run it together.
    """
    found = tuple(kernels(parse(compiled.as_text())))
    seconds = sum(rates.seconds(kernel, devices) for kernel in found)
    analysis = _analysis(compiled) if platform == "tpu" else {}
    if "optimal_seconds" in analysis:
        own = analysis["optimal_seconds"] % 1.0
        undeclared = (
            rates.seconds(k) - k.declared / rates.bytes for k in found if k.kind == "pallas"
        )
        seconds = own + sum(max(0.0, excess) for excess in undeclared)
    return Estimate(seconds, found, compiled.memory_analysis().temp_size_in_bytes)


def _analysis(compiled: Any) -> Mapping[str, float]:
    try:
        found = compiled.cost_analysis()
    except jax.errors.JaxRuntimeError:
        found = None
    found = found[0] if isinstance(found, list) and found else found
    return found or {}


def _sent(kernel: Kernel, devices: int) -> float:
    """The bytes that each device sends in a ring."""
    share = (devices - 1) / devices
    if kernel.kind == "all-reduce":
        return 2 * share * kernel.written
    return share * max(kernel.read, kernel.written)
