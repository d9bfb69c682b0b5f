"""Pools as XLA's GPU compiler runs them best: one loop over the result, and one kernel each.

XLA fuses a `reduce_window`, its operand and what follows it into one kernel, in which the elements
of a window come from the caches. Axis by axis, as a CPU adds up a window, there is a kernel and a
map in memory for each axis, and sums in float32 of a map in half precision are written there.

Windows that lie side by side and are large are a reduction: a thread for each window would be few
threads.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry, extent
from ..._typing import Array, Input, Pooled, Taps
from ..shared import _adjacent, _maxima, _sums
from ..shared._dtypes import accumulator, of_whole_bytes
from ..shared._hints import Hints

# The most taps of a window whose sum or maximum is one loop, and of one whose taps are compared.
# XLA fuses no reduction with the division that follows it, and makes two of one over two axes.
_MAX_REDUCED, _MAX_COMPARED = 64, 32


class _GpuHints(Hints):
    """XLA's reductions on GPUs keep a NaN, as `reduce_window` does."""

    def maximum(self, x: Array, axes: tuple[int, ...]) -> Array:
        """The largest elements along some axes, NaN where there is one."""
        return x.max(axes)


_HINTS = _GpuHints()


def sum_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """y[p] = Σ_r x[s·p + d·r - lo]."""
    window = _reduce_window(geometry)
    if window is None or _is_large_and_adjacent(geometry, _MAX_REDUCED):
        return _sums.sum_windows(x, geometry=geometry)
    wide = x.astype(accumulator(x.dtype))
    return window(wide, jnp.zeros((), wide.dtype), lax.add).astype(x.dtype)


def spread_windows(y: Pooled, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over all taps of all windows that see i: the transpose of `sum_windows`."""
    # (G') is the convolution that goes back, here with a kernel of ones.
    window = _reduce_window(geometry.transposed())
    if window is None or _adjacent.applies(geometry):
        return _sums.spread_windows(y, geometry=geometry)
    wide = y.astype(accumulator(y.dtype))
    return window(wide, jnp.zeros((), wide.dtype), lax.add).astype(y.dtype)


def max_of_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """The largest element of each window; NaN where it holds one; the lowest value where empty."""
    window = _reduce_window(geometry)
    if window is None or _is_large_and_adjacent(geometry, _MAX_REDUCED):
        return _maxima.max_of_windows(x, geometry=geometry, hints=_HINTS)
    seen = x.astype(of_whole_bytes(x.dtype))
    lowest = jnp.asarray(_maxima.lowest_of(x.dtype), seen.dtype)
    return window(seen, lowest, lax.max).astype(x.dtype)


def max_and_argmax(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first in row-major order among equals."""
    best, index = max_and_argmax_in_loop(x, geometry=geometry)
    # Without a barrier XLA searches the windows again in each loop of the reverse pass that reads
    # the index, and keeps the whole map for that.
    return best, lax.optimization_barrier(index)


def max_and_argmax_in_loop(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """As `max_and_argmax`, for operations that compute with the index in the same loop."""
    seen = x.astype(of_whole_bytes(x.dtype))
    if _is_large_and_adjacent(geometry, _MAX_COMPARED):
        best, index = _adjacent.first_maxima_in_one_pass(
            seen,
            _maxima.index_dtype(geometry),
            lowest=_maxima.lowest_of(x.dtype),
            geometry=geometry,
        )
        return best.astype(x.dtype), index
    if math.prod(geometry.window) > _MAX_COMPARED:
        return _maxima.max_and_argmax(x, geometry=geometry, hints=_HINTS)
    best, index = _maxima.compare_all_taps(seen, geometry, _maxima.lowest_of(x.dtype))
    return best.astype(x.dtype), index


def _reduce_window(geometry: Geometry) -> Callable[[Array, Array, Any], Array] | None:
    """`lax.reduce_window` over the windows of a geometry, or None where it has no such windows."""
    padding = [(0, 0)]
    for axis in geometry.axes():
        hi = axis.s * (axis.p - 1) + extent(axis.r, axis.d) - axis.lo - extent(axis.i, axis.e)
        if axis.lo < 0 or hi <= -axis.s:
            return None
        padding.append((axis.lo, max(hi, 0)))

    def windows(x: Array, initial: Array, monoid: Any) -> Array:
        return lax.reduce_window(
            x,
            initial,
            monoid,
            (1, *geometry.window, 1),
            (1, *geometry.strides, 1),
            (*padding, (0, 0)),
            (1, *geometry.input_dilation, 1),
            (1, *geometry.kernel_dilation, 1),
        )

    return windows


def _is_large_and_adjacent(geometry: Geometry, most: int) -> bool:
    """Whether windows lie side by side, each with enough elements for several threads."""
    return math.prod(geometry.window) > most and _adjacent.applies(geometry)
