"""What all taps of an axis see as one array, and what they see without padding.

Arrays are `(n, *spatial, …)`. Spatial axes are counted from 0.
"""

from collections.abc import Iterator

import numpy as np
from jax import lax

from ..._geometry import Axis, Geometry
from ..._typing import Array
from ..shared._padding import Sides
from ..shared._taps import first_seen, reach


def stacked_taps(x: Array, axis: int, geometry: Geometry) -> Array:
    """What the taps of an axis see, on a new axis before it; `x` is padded but not cropped."""
    copies = shifted_copies(x, axis, geometry.window[axis], geometry.kernel_dilation[axis])
    first, stride = first_seen(axis, geometry), geometry.strides[axis]
    return lax.slice_in_dim(copies, first, first + reach(axis, geometry), stride, axis=axis + 2)


def shifted_copies(x: Array, axis: int, count: int, shift: int) -> Array:
    """a[…, r, q, …] = x[…, q + shift·r, …] on one axis, for r < count and q < size + shift.

    Indices wrap around at the ends of the axis. The copies are rows of size + shift elements out of
    x repeated end to end: one loop. As many slices would be as many branches in that loop, which
    then takes twice as long to compile.
    """
    axis += 1
    *before, size = x.shape[: axis + 1]
    behind = x.shape[axis + 1 :]
    repeats = -(-count * (size + shift) // size)
    repeated = lax.broadcast_in_dim(
        x, (*before, repeats, size, *behind), [a + (a >= axis) for a in range(x.ndim)]
    )
    end_to_end = repeated.reshape(*before, repeats * size, *behind)
    rows = lax.slice_in_dim(end_to_end, 0, count * (size + shift), axis=axis)
    return rows.reshape(*before, count, size + shift, *behind)


def outputs_inside(tap: int, axis: Axis) -> range:
    """The outputs at which a tap meets an element, not padding: 0 <= s·p + d·r - lo < i."""
    first = axis.d * tap - axis.lo
    last = (axis.i - 1 - first) // axis.s
    return range(max(0, -(first // axis.s)), min(axis.p, last + 1))


def taps_inside(x: Array, geometry: Geometry) -> Iterator[tuple[Array, Sides]]:
    """What each tap sees of `x` without padding, and how many outputs around those see padding.

    The taps are in row-major order. Each of them must meet an element somewhere.
    """
    axes = list(geometry.axes())
    behind = x.ndim - 1 - geometry.rank
    strides = (1, *geometry.strides, *(1,) * behind)
    for tap in np.ndindex(*geometry.window):
        starts, ends, sides = [0], [x.shape[0]], [(0, 0, 0)]
        for r, axis in zip(tap, axes, strict=True):
            met = outputs_inside(r, axis)
            first = axis.s * met.start + axis.d * r - axis.lo
            starts.append(first)
            ends.append(first + axis.s * (len(met) - 1) + 1)
            sides.append((met.start, axis.p - met.stop, 0))
        starts += [0] * behind
        yield lax.slice(x, starts, (*ends, *x.shape[x.ndim - behind :]), strides), sides
