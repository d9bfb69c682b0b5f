"""Sums over sliding windows without `reduce_window`: shifted slices and their transposes.

A window's tap r sees, at the output position p, the padded input at s·p + d·r. Over all p that is
one strided slice, so a sum over windows adds R slices, axis by axis. Where a window spans an image
the slices would be too many; XLA's `reduce_window` takes over, which is fast for a plain sum along
one axis, and a reshape does where windows lie side by side.
"""

import math

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Pooled
from . import _side_by_side
from ._arrays import accumulator, add_up, of_whole_bytes
from ._sliding import pad, pad_to_taps, place_taps, taps_between

# Taps that are unrolled along one axis.
MAX_TAPS_PER_AXIS = 32


def sum_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """y[p] = Σ_r x[s·p + d·r - lo], one axis after the other."""
    if _large_side_by_side(geometry):
        return _side_by_side.sums(x, geometry=geometry)
    total = x.astype(accumulator(x.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            total = _sum_along(pad_to_taps(total, axis, geometry), axis, geometry)
        else:
            total = add_up(taps_between(total, axis, geometry, fill=0))
    return total.astype(x.dtype)


def spread_windows(y: Pooled, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over all taps of all windows that see i: the transpose of `sum_windows`."""
    if _side_by_side.applies(geometry):  # whatever its size: no phase is stacked
        moved = y.astype(of_whole_bytes(y.dtype))
        return _side_by_side.spread(moved, geometry=geometry).astype(y.dtype)
    total = y.astype(accumulator(y.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            back = geometry.transposed()
            (lo, hi), gaps = back.padding[axis], back.input_dilation[axis] - 1
            total = _sum_along(pad(total, axis, lo, hi, 0, gaps), axis, back)
        elif geometry.strides[axis] == 1:
            total = add_up(taps_between(total, axis, geometry.transposed(), fill=0))
        else:
            total = place_taps(lambda _, total=total: total, axis, geometry)
    return total.astype(y.dtype)


def _large_side_by_side(geometry: Geometry) -> bool:
    """Where slices would be many, or are all of the map, and a reshape does the same."""
    many = max(geometry.window) > MAX_TAPS_PER_AXIS or math.prod(geometry.output_size) == 1
    return many and _side_by_side.applies(geometry)


def _sum_along(padded: Array, axis: int, geometry: Geometry) -> Array:
    def only(value):
        return tuple(value if a == axis + 1 else 1 for a in range(padded.ndim))

    return lax.reduce_window(
        padded,
        jnp.zeros((), padded.dtype),
        lax.add,
        only(geometry.window[axis]),
        only(geometry.strides[axis]),
        "VALID",
        window_dilation=only(geometry.kernel_dilation[axis]),
    )
