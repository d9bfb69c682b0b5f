"""Sums over sliding windows: shifted slices and their transposes.

Tap r of a window sees, at the output position p, the padded input at s·p + d·r. Over all p that is
one strided slice, so a sum over windows adds R slices, axis by axis. A window that spans an image
would need too many slices. There XLA's `reduce_window` along one axis takes over, or a reshape
where windows lie side by side.
"""

import math

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled
from . import _adjacent
from ._arrays import add_up
from ._dtypes import accumulator, of_whole_bytes
from ._hints import NONE, Hints
from ._padding import pad_spatial
from ._taps import place_taps, sides_seen, taps_filled

# The most taps that are unrolled along one axis.
MAX_TAPS_PER_AXIS = 32


def sum_windows(x: Input, *, geometry: Geometry, hints: Hints = NONE) -> Pooled:
    """y[p] = Σ_r x[s·p + d·r - lo], one axis after the other."""
    if _is_large_and_adjacent(geometry):
        return _adjacent.sums(x, geometry=geometry)
    total = x.astype(accumulator(x.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            lo, hi = sides_seen(axis, geometry, total.shape[axis + 1])
            total = _sum_along(pad_spatial(total, axis, lo, hi), axis, geometry)
        else:
            total = add_up(taps_filled(total, axis, geometry, fill=0, hints=hints))
    # Each loop that reads the sums would compute them again.
    return hints.separate(total.astype(x.dtype))


def spread_windows(y: Pooled, *, geometry: Geometry, hints: Hints = NONE) -> Input:
    """x[i] = Σ y[p] over all taps of all windows that see i: the transpose of `sum_windows`."""
    if _adjacent.applies(geometry):  # a reshape at any size, because it interleaves no phases
        moved = y.astype(of_whole_bytes(y.dtype))
        return _adjacent.spread(moved, geometry=geometry).astype(y.dtype)
    total = y.astype(accumulator(y.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            back = geometry.transposed()
            (lo, hi), gap = back.padding[axis], back.input_dilation[axis] - 1
            total = _sum_along(pad_spatial(total, axis, lo, hi, 0, gap), axis, back)
        elif geometry.strides[axis] == 1:
            total = add_up(taps_filled(total, axis, geometry.transposed(), fill=0, hints=hints))
        else:
            total = place_taps(lambda _, total=total: total, axis, geometry)
    return hints.separate(total.astype(y.dtype))


def _is_large_and_adjacent(geometry: Geometry) -> bool:
    """Whether a reshape replaces slices that would be many, or each the whole map."""
    many = max(geometry.window) > MAX_TAPS_PER_AXIS or math.prod(geometry.output_size) == 1
    return many and _adjacent.applies(geometry)


def _sum_along(padded: Array, axis: int, geometry: Geometry) -> Array:
    """The sums over windows along one axis, by `reduce_window`."""

    def along_axis(value):
        return tuple(value if a == axis + 1 else 1 for a in range(padded.ndim))

    return lax.reduce_window(
        padded,
        jnp.zeros((), padded.dtype),
        lax.add,
        along_axis(geometry.window[axis]),
        along_axis(geometry.strides[axis]),
        "VALID",
        window_dilation=along_axis(geometry.kernel_dilation[axis]),
    )
