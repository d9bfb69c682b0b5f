"""The direct convolution with more outputs than asked for, cropped afterwards; for JAX 0.10 only.

(G) holds for any number of outputs. Positions p beyond the last one meet elements or padding like
all others, and can be cropped:

    y[n,p,o] = y'[n,p,o],    p < P <= P'                                                        (1)

More work can take less time because it changes what the compiler does. On a CPU, XLA of JAX 0.10
hands float32 convolutions over two axes to YNNPACK, which in that version is slow at some of them:

- Without padding on any side a convolution takes 1.5 to 4 times as long as with some. For example,
  5x5 on 500 maps of 12x12, 32 to 32 channels, takes 90 ms in place of 25. One more position along
  an axis, and the padding that it needs, are enough.
- An output larger than the input is not handed over but left to Eigen, which with 64 channels is
  1.5 to 1.8 times as fast. For example, 3x3 on 128 maps of 32x32 that keep their size takes 71 ms
  in place of 109. That needs |I| + 1 - |P| more positions along one axis, here 33 rows in place of
  32.

All contractions are convolutions as the direct algorithm computes them. So each can have extra
outputs: the input gradient beyond the last element, the kernel gradient beyond the last tap.

Takes the time of the direct convolution, of the extra outputs, and of one copy of the result.
"""

import math
from dataclasses import replace

from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._direct import as_forward
from ._direct import CpuDirect
from ._rates import COPIED

# Leaving YNNPACK is worth at most this much more work, relative to what is asked for.
_MOST = 0.25


class ExtraOutputs(Algorithm):
    """(1) for every contraction."""

    name = "extra_outputs"
    finishes = frozenset(Remainder)
    direct = CpuDirect()

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """The direct contraction with extra outputs, cropped."""
        sizes = as_forward(slot, spec.geometry).output_size
        larger = spec.replace(geometry=with_extra_outputs(slot, spec.geometry))
        result = self.direct.run(slot, larger, first, second, solve)
        for axis, size in enumerate(sizes, start=0 if slot == Slot.KERNEL else 1):
            result = lax.slice_in_dim(result, 0, size, axis=axis)
        return result

    def why_not(self, problem: Problem) -> str:
        """Why an output can't be extended; empty if it has an axis and a size."""
        if not problem.geometry.rank:
            return "there are no spatial axes"
        if not math.prod(as_forward(problem.slot, problem.geometry).output_size):
            return "there is nothing to compute"
        return ""

    def cost(self, problem: Problem) -> float:
        """That of the larger direct convolution, and a copy of the result."""
        slot, geometry, n, c, o, _ = problem
        per_position = {Slot.OUTPUT: n * o, Slot.INPUT: n * c, Slot.KERNEL: c / geometry.groups * o}
        elements = math.prod(as_forward(slot, geometry).output_size) * per_position[slot]
        larger = problem._replace(geometry=with_extra_outputs(slot, geometry))
        return self.direct.cost(larger) + COPIED * elements


def with_extra_outputs(slot: Slot, geometry: Geometry) -> Geometry:
    """A geometry with the fewest extra outputs that help, on one axis of the result.

    That is one output more than the input has elements, or, if these are too many, one more.
    """
    forward = as_forward(slot, geometry)
    beyond = [max(1, axis.i + 1 - axis.p) for axis in forward.axes()]
    axis, extra = min(enumerate(beyond), key=lambda found: found[1] / forward.output_size[found[0]])
    if extra > _MOST * forward.output_size[axis]:
        axis, extra = max(enumerate(forward.output_size), key=lambda found: found[1])[0], 1
    return as_forward(slot, _extended(forward, axis, extra))  # its own inverse


def _extended(geometry: Geometry, axis: int, extra: int) -> Geometry:
    sizes, padding = list(geometry.output_size), list(geometry.padding)
    low, high = padding[axis]
    sizes[axis] += extra
    padding[axis] = low, high + extra * geometry.strides[axis]
    return replace(geometry, output_size=tuple(sizes), padding=tuple(padding))
