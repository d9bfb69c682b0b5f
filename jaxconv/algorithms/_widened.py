"""The direct convolution with an output wider than asked for, cut off afterwards.

(G) holds for any number of outputs: positions p beyond the last one meet pixels, or padding, like
all others, and whoever wants the first P of them throws the rest away,

    y[n,p,o] = y'[n,p,o],    p < P <= P'                                                        (1)

which looks like a waste, and is one, but for the compiler. On a CPU, XLA of JAX 0.10 hands float32
convolutions over two axes to YNNPACK, which in that version is slow at some of them:

- Without padding on any side a convolution takes 1.5 to 4 times as long as with some: 5x5 on 500
  maps of 12x12, 32 to 32 channels, 90 ms against 25. One more position along an axis, and the
  padding that it needs, are enough.
- An output larger than the input is not handed over but left to Eigen, which with 64 channels is
  1.5 to 1.8 times as fast: 3x3 on 128 maps of 32x32 that keep their size, 109 ms against 71. To get
  there takes |I| + 1 - |P| positions more along one axis, here 33 rows in place of 32.

Few channels are none of these cases, and from JAX 0.11 on the costs never choose this algorithm.

All corners are convolutions as the direct algorithm does them, and so all can be widened: the input
gradient beyond the last pixel, the kernel gradient beyond the last tap.

Cost: that of the direct convolution, the surplus, and one copy of the result.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from jax import lax

from .._geometry import Geometry
from .._typing import Array
from ._arrays import Dtypes
from ._direct import direct_forward, direct_input_vjp, direct_kernel_vjp
from ._problem import Problem

# Work more than this, relative to what is asked for, does not pay for leaving YNNPACK.
_MOST = 0.25

# Each corner and its geometry as that of a forward convolution, which is its own inverse.
_AS_FORWARD: dict[str, Callable[[Geometry], Geometry]] = {
    "x": Geometry.transposed,
    "k": Geometry.correlated,
    "y": lambda geometry: geometry,
}
_DIRECT = {"x": direct_input_vjp, "k": direct_kernel_vjp, "y": direct_forward}


def widened(
    slot: str, *operands: Array, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Array:
    """(1) for the corner that leaves `slot` out."""
    wide = _DIRECT[slot](
        *operands, geometry=wider(slot, geometry), dtypes=dtypes, precision=precision
    )
    sizes = as_forward(slot, geometry).output_size
    for axis, size in enumerate(sizes, start=0 if slot == "k" else 1):
        wide = lax.slice_in_dim(wide, 0, size, axis=axis)
    return wide


def why_not(problem: Problem) -> str:
    """What keeps an output from being widened; empty if it has an axis and a size."""
    if not problem.geometry.rank:
        return "there are no spatial axes"
    if not math.prod(as_forward(problem.slot, problem.geometry).output_size):
        return "there is nothing to compute"
    return ""


def leaves(problem: Problem) -> Problem:
    """The corner that is computed."""
    return problem._replace(geometry=wider(problem.slot, problem.geometry))


def as_forward(slot: str, geometry: Geometry) -> Geometry:
    """The geometry of the convolution by which the direct algorithm computes a corner."""
    return _AS_FORWARD[slot](geometry)


def wider(slot: str, geometry: Geometry) -> Geometry:
    """A geometry with the least surplus, on one axis of what the corner computes, that helps.

    That is one more position than the input has, or, where this is much, a single one.
    """
    forward = as_forward(slot, geometry)
    beyond = [max(1, i + 1 - p) for i, _, p, *_ in forward.axes()]
    axis, surplus = min(
        enumerate(beyond), key=lambda found: found[1] / forward.output_size[found[0]]
    )
    if surplus > _MOST * forward.output_size[axis]:
        axis, surplus = max(enumerate(forward.output_size), key=lambda found: found[1])[0], 1
    return _AS_FORWARD[slot](_with_surplus(forward, axis, surplus))


def _with_surplus(geometry: Geometry, axis: int, surplus: int) -> Geometry:
    sizes, padding = list(geometry.output_size), list(geometry.padding)
    low, high = padding[axis]
    sizes[axis] += surplus
    padding[axis] = low, high + surplus * geometry.strides[axis]
    return replace(geometry, output_size=tuple(sizes), padding=tuple(padding))
