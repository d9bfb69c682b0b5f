"""The largest element of each window, and the linear maps that follow from knowing which it is.

XLA's own `select_and_scatter` searches it once more in the reverse pass. On a CPU it does so by a
scalar loop, tens of times slower. It also drops the gradient of windows that hold a NaN, and it has
no dilation. Here the forward pass returns the tap that holds the maximum, one small integer a
window. All the rest is comparisons.
"""

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled, Taps
from . import _adjacent
from ._dtypes import accumulator, of_whole_bytes
from ._hints import NONE, Hints
from ._over_taps import place_over_taps, sum_over_taps
from ._scatter import scatter_by_shifts
from ._taps import MAX_TAPS, all_taps, pad_or_crop_to_taps, taps_filled


def max_of_windows(x: Input, *, geometry: Geometry, hints: Hints = NONE) -> Pooled:
    """The largest element of each window; NaN where it holds one; the lowest value where empty."""
    best = x.astype(of_whole_bytes(x.dtype))
    if _is_large_and_adjacent(geometry):
        return _adjacent.maxima(best, geometry=geometry, hints=hints).astype(x.dtype)
    for axis in range(geometry.rank):
        best = _largest(taps_filled(best, axis, geometry, fill=lowest_of(x.dtype), hints=hints))
    return best.astype(x.dtype)


def max_and_argmax(x: Input, *, geometry: Geometry, hints: Hints = NONE) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first in row-major order among equals.

    NaN counts as the largest. Padding is never chosen. A window of padding alone has tap -1.
    """
    seen = x.astype(of_whole_bytes(x.dtype))
    best, index = _choose(seen, geometry, lowest_of(x.dtype), hints)
    best, index = hints.remember(best, index, math.prod(geometry.window))
    return best.astype(x.dtype), index


def gather_windows(x: Input, index: Taps, *, geometry: Geometry, hints: Hints = NONE) -> Pooled:
    """y[p] = x[s·p + d·index[p] - lo]; zero where the index is -1."""
    moved = x.astype(of_whole_bytes(x.dtype))
    if _is_large_and_adjacent(geometry):
        return _adjacent.gather(moved, index, geometry=geometry).astype(x.dtype)
    zero = jnp.zeros((), moved.dtype)
    y = sum_over_taps(
        lambda tap, seen: jnp.where(index == tap, seen, zero), [moved], geometry=geometry
    )
    return y.astype(x.dtype)


def scatter_windows(y: Pooled, index: Taps, *, geometry: Geometry, hints: Hints = NONE) -> Input:
    """x[i] = Σ y[p] over the windows whose index points at i: the transpose of `gather_windows`."""
    if _is_large_and_adjacent(geometry):
        moved = y.astype(of_whole_bytes(y.dtype))
        return _adjacent.scatter(moved, index, geometry=geometry).astype(y.dtype)
    wide = y.astype(accumulator(y.dtype))
    return scatter_by_shifts(wide, index, geometry, hints).astype(y.dtype)


def sum_where_equal(
    x_dot: Input, x: Input, y: Pooled, *, geometry: Geometry, hints: Hints = NONE
) -> Pooled:
    """y_dot[p] = Σ_r x_dot[s·p + d·r - lo] over the taps that see y[p] itself, or both see NaN."""
    wide = x_dot.astype(accumulator(x_dot.dtype))
    zero = jnp.zeros((), wide.dtype)
    x, y = (a.astype(of_whole_bytes(a.dtype)) for a in (x, y))
    y_dot = sum_over_taps(
        lambda _, seen, moved: jnp.where(_same(seen, y), moved, zero), [x, wide], geometry=geometry
    )
    return y_dot.astype(x_dot.dtype)


def spread_where_equal(
    y_bar: Pooled, x: Input, y: Pooled, *, geometry: Geometry, hints: Hints = NONE
) -> Input:
    """x[i] = Σ y_bar[p] over the windows whose y is the element at i: its transpose."""
    wide = y_bar.astype(accumulator(y_bar.dtype))
    zero = jnp.zeros((), wide.dtype)
    x, y = (a.astype(of_whole_bytes(a.dtype)) for a in (x, y))
    x_bar = place_over_taps(
        lambda _, seen: jnp.where(_same(seen, y), wide, zero), [x], geometry=geometry
    )
    return x_bar.astype(y_bar.dtype)


def index_dtype(geometry: Geometry) -> np.dtype:
    """The smallest signed integer that can number the taps of a window."""
    return np.min_scalar_type(-math.prod(geometry.window))


def lowest_of(dtype: np.dtype) -> int | float:
    """A value that no element of the dtype is below."""
    if jnp.issubdtype(dtype, jnp.floating):
        has_infinity = np.isinf(np.array(-np.inf).astype(dtype))
        return -np.inf if has_infinity else float(jnp.finfo(dtype).min)
    return int(jnp.iinfo(dtype).min)


def compare_all_taps(x: Array, geometry: Geometry, fill: int | float) -> tuple[Array, Array]:
    """The choice of `max_and_argmax` in one loop over the windows, which reads every tap."""
    dtype, outside = index_dtype(geometry), math.prod(geometry.window)
    padded, whole = pad_or_crop_to_taps(x, geometry, fill)
    values = all_taps(padded, whole)
    if not _has_padding(geometry):
        return _first_largest(
            values, [jnp.full_like(values[0], tap, dtype) for tap in range(outside)]
        )
    # Padding has a number above all taps. So it loses against a tap of equal value.
    numbers = _numbers_of_taps(geometry, outside)
    indices = [
        functools.reduce(jnp.add, (numbers[a][r] for a, r in enumerate(tap)))
        for tap in np.ndindex(*geometry.window)
    ]
    best, index = _first_largest(values, indices, ties=True)
    return best, jnp.where(index < outside, index, -1).astype(dtype)


def _numbers_of_taps(geometry: Geometry, outside: int) -> list[list[Array]]:
    """For each axis and its taps a number at each position, to broadcast against the output.

    The sum over the axes is the tap's row-major number, or at least `outside` where it is padding.
    """
    dtype = np.min_scalar_type(-(geometry.rank + 1) * outside)
    numbers, taps_inside = [], outside
    for number, axis in enumerate(geometry.axes()):
        taps_inside //= axis.r
        places = axis.s * np.arange(axis.p) + axis.d * np.arange(axis.r)[:, None] - axis.lo
        is_inside = (places >= 0) & (places < axis.i)
        of_taps = np.where(is_inside, taps_inside * np.arange(axis.r)[:, None], outside)
        shape = [-1 if a == number + 1 else 1 for a in range(geometry.rank + 2)]
        numbers.append([jnp.asarray(of_tap, dtype).reshape(shape) for of_tap in of_taps])
    return numbers


def _choose(x: Array, geometry: Geometry, lowest: int | float, hints: Hints) -> tuple[Array, Array]:
    dtype = index_dtype(geometry)
    if _is_large_and_adjacent(geometry):
        return _adjacent.first_maxima(x, dtype, geometry=geometry, hints=hints)
    overlaps = any(axis.d * (axis.r - 1) >= axis.s for axis in geometry.axes())
    if overlaps or _has_padding(geometry) or math.prod(geometry.window) > MAX_TAPS:
        best, index = _choose_by_axis(x, geometry, lowest, hints)
        return best, index.astype(dtype)
    seen = all_taps(x, geometry)
    return _first_largest(seen, [jnp.full_like(seen[0], tap, dtype) for tap in range(len(seen))])


def _choose_by_axis(
    x: Array, geometry: Geometry, lowest: int | float, hints: Hints
) -> tuple[Array, Array]:
    """The choice along each axis in turn, the outermost first, whose slices are whole rows."""
    has_padding = _has_padding(geometry)
    # Padding has this number, which is above all taps. So it loses against a tap of equal value.
    taps_inside = outside = math.prod(geometry.window)
    best, index = x, jnp.zeros_like(x, np.min_scalar_type(-2 * outside))  # split over devices as x
    for axis, r in enumerate(geometry.window):
        taps_inside //= r
        of_taps = taps_filled(index, axis, geometry, fill=outside, hints=hints)
        indices = [i + jnp.asarray(tap * taps_inside, i.dtype) for tap, i in enumerate(of_taps)]
        # The index is found in a loop of its own, which pads the values for itself.
        copy = hints.separate(best)
        seen = taps_filled(copy, axis, geometry, fill=lowest, hints=hints)
        best = _largest(taps_filled(best, axis, geometry, fill=lowest, hints=hints))
        _, index = _first_largest(seen, indices, ties=axis > 0 or has_padding)
    if has_padding:
        index = jnp.where(index < outside, index, -1)
    return best, index


def _has_padding(geometry: Geometry) -> bool:
    return any(lo > 0 or hi > 0 for lo, hi in geometry.padding)


def _largest(values: Sequence[Array]) -> Array:
    return functools.reduce(jnp.maximum, values)


def _first_largest(
    values: Sequence[Array], indices: Sequence[Array], *, ties: bool = False
) -> tuple[Array, Array]:
    """The largest values and their indices; among equals the first, with `ties` the lowest index.

    NaN counts as the largest.
    """
    best, index = values[0], indices[0]
    for value, number in zip(values[1:], indices[1:], strict=True):
        larger = ~(value <= best) & ~_is_nan(best)
        if ties:
            larger |= _same(value, best) & (number < index)
        best = jnp.where(larger, value, best)
        index = jnp.where(larger, number, index)
    return best, index


def _is_large_and_adjacent(geometry: Geometry) -> bool:
    """Whether a reshape replaces slices that would be many, or each the whole map."""
    many = math.prod(geometry.window) > MAX_TAPS or math.prod(geometry.output_size) == 1
    return many and _adjacent.applies(geometry)


def _same(a: Array, b: Array) -> Array:
    return (a == b) | (_is_nan(a) & _is_nan(b))


def _is_nan(x: Array) -> Array:
    return x != x  # False everywhere for integers
