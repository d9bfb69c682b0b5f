"""Which positions meet, by (G) itself, on axes of every kind.

Helpers of algorithms that only count are tried on these, without arrays.
"""

import itertools
from collections.abc import Iterator

from jaxconv._geometry import Axis, Geometry, extent


def meetings(axis: Axis) -> set[tuple[int, int, int]]:
    """Each input, tap and output that meet, by (G): e·i + lo = s·p + d·r."""
    found = set()
    for r, p in itertools.product(range(axis.r), range(axis.p)):
        i, rest = divmod(axis.s * p + axis.d * r - axis.lo, axis.e)
        if rest == 0 and 0 <= i < axis.i:
            found.add((i, r, p))
    return found


def lines(strides=(1, 2, 3), input_dilation=(1, 2, 3), low=(-2, 0, 1, 4)) -> Iterator[Geometry]:
    """Geometries of one axis. Some crop, or see elements beyond the last window."""
    sizes = itertools.product((1, 4, 7), (1, 2, 5), strides, input_dilation, (1, 2, 3))
    for (i, r, s, e, d), lo, hi in itertools.product(sizes, low, (-2, 0, 3)):
        room = extent(i, e) + lo + hi - extent(r, d)
        if room >= 0 and extent(i, e) + min(lo, 0) + min(hi, 0) > 0:
            spacing = {"strides": (s,), "input_dilation": (e,), "kernel_dilation": (d,)}
            yield Geometry((i,), (r,), (room // s + 1,), padding=((lo, hi),), **spacing)


def only(geometry: Geometry) -> Axis:
    """The axis of a geometry that has one."""
    (axis,) = geometry.axes()
    return axis
