"""The largest element of each window, and what follows from knowing which one it is.

XLA's own `select_and_scatter` finds it once more in the reverse pass, by a scalar loop, tens of
times slower on a CPU; it drops the gradient of windows with a NaN and knows no dilation. Here the
forward pass notes the tap that won, one small integer a window, and the rest is comparisons.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Pooled, Taps
from . import _side_by_side
from ._arrays import IS_JAX_0_10, accumulator, add_up, in_vectors, of_whole_bytes
from ._over_taps import place_over_taps, sum_over_taps
from ._row_major import row_major
from ._sliding import MAX_TAPS, all_taps, pad, taps_between


def max_of_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """The largest element of each window; NaN where it holds one; the lowest value where empty."""
    best = x.astype(of_whole_bytes(x.dtype))
    if _large_side_by_side(geometry):
        return _side_by_side.maxima(best, geometry=geometry).astype(x.dtype)
    for axis in range(geometry.rank):
        best = _largest(taps_between(best, axis, geometry, fill=_lowest(x.dtype)))
    return best.astype(x.dtype)


def max_and_argmax(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first in row-major order among equals.

    NaN counts as the largest. Padding is never chosen; a window of padding alone has tap -1.
    """
    # Without the barrier XLA would choose again, from the whole map, wherever one of the two is
    # needed, in the reverse pass above all.
    seen = x.astype(of_whole_bytes(x.dtype))
    best, index = lax.optimization_barrier(_choose(seen, geometry, _lowest(x.dtype)))
    above = np.iinfo(index.dtype).max
    if IS_JAX_0_10 and math.prod(geometry.window) <= above:
        # There XLA drops the barrier before it fuses. But it never repeats what it holds for
        # expensive, such as a remainder: here by a number above all taps and no power of two.
        index = lax.rem(index, jnp.asarray(above, index.dtype))
    return best.astype(x.dtype), index


def gather_windows(x: Input, index: Taps, *, geometry: Geometry) -> Pooled:
    """y[p] = x[s·p + d·index[p] - lo]; zero where the index is -1."""
    moved = x.astype(of_whole_bytes(x.dtype))
    if _large_side_by_side(geometry):
        return _side_by_side.gather(moved, index, geometry=geometry).astype(x.dtype)
    zero = jnp.zeros((), moved.dtype)
    y = sum_over_taps(
        lambda tap, seen: jnp.where(index == tap, seen, zero), [moved], geometry=geometry
    )
    return y.astype(x.dtype)


def scatter_windows(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over the windows whose index points at i: the transpose of `gather_windows`."""
    if _large_side_by_side(geometry):
        moved = y.astype(of_whole_bytes(y.dtype))
        return _side_by_side.scatter(moved, index, geometry=geometry).astype(y.dtype)
    wide = y.astype(accumulator(y.dtype))
    if math.prod(geometry.window) <= MAX_TAPS:
        return _scatter_by_shifts(wide, index, geometry).astype(y.dtype)
    zero = jnp.zeros((), wide.dtype)
    x = place_over_taps(lambda tap: jnp.where(index == tap, wide, zero), [], geometry=geometry)
    return x.astype(y.dtype)


def sum_where_equal(x_dot: Input, x: Input, y: Pooled, *, geometry: Geometry) -> Pooled:
    """y_dot[p] = Σ_r x_dot[s·p + d·r - lo] over the taps that see y[p] itself, or both see NaN."""
    wide = x_dot.astype(accumulator(x_dot.dtype))
    zero = jnp.zeros((), wide.dtype)
    x, y = (a.astype(of_whole_bytes(a.dtype)) for a in (x, y))
    y_dot = sum_over_taps(
        lambda _, seen, moved: jnp.where(_same(seen, y), moved, zero), [x, wide], geometry=geometry
    )
    return y_dot.astype(x_dot.dtype)


def spread_where_equal(y_bar: Pooled, x: Input, y: Pooled, *, geometry: Geometry) -> Input:
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


def _choose(x: Array, geometry: Geometry, lowest: int | float) -> tuple[Array, Array]:
    dtype = index_dtype(geometry)
    if _large_side_by_side(geometry):
        return _side_by_side.first_maxima(x, dtype, geometry=geometry)
    overlaps = any(d * (r - 1) >= s for _, r, _, s, _, _, d in geometry.axes())
    if overlaps or _has_padding(geometry) or math.prod(geometry.window) > MAX_TAPS:
        best, index = _choose_by_axis(x, geometry, lowest)
        return best, index.astype(dtype)
    seen = all_taps(x, geometry)
    return _first_largest(seen, [jnp.full_like(seen[0], tap, dtype) for tap in range(len(seen))])


def _choose_by_axis(x: Array, geometry: Geometry, lowest: int | float) -> tuple[Array, Array]:
    """The choice along each axis in turn, the outermost first, whose slices are whole rows."""
    has_padding = _has_padding(geometry)
    taps_inside = outside = math.prod(geometry.window)  # padding loses against any tap of its value
    best, index = x, jnp.zeros_like(x, np.min_scalar_type(-2 * outside))  # split over devices as x
    for axis, r in enumerate(geometry.window):
        taps_inside //= r
        indices = [
            i + jnp.asarray(tap * taps_inside, i.dtype)
            for tap, i in enumerate(taps_between(index, axis, geometry, fill=outside))
        ]
        # The tap is found in a loop of its own, which the barrier gives padding of its own, too.
        seen = taps_between(lax.optimization_barrier(best), axis, geometry, fill=lowest)
        best = _largest(taps_between(best, axis, geometry, fill=lowest))
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

    A NaN counts as the largest.
    """
    best, index = values[0], indices[0]
    for value, number in zip(values[1:], indices[1:], strict=True):
        larger = ~(value <= best) & ~_is_nan(best)
        if ties:
            larger |= _same(value, best) & (number < index)
        best = jnp.where(larger, value, best)
        index = jnp.where(larger, number, index)
    return best, index


def _scatter_by_shifts(y: Array, index: Array, geometry: Geometry) -> Array:
    """The scatter as one loop over the input, a few comparisons a pixel.

    Tap r of window p meets pixel s·p + d·r - lo. Of pixel s·q + φ, of phase φ < s, that makes
    d·r - lo = s·u + φ with the shift u = q - p. So for each shift there is one tap for each phase,
    or none, and

        x[s·q + φ] = Σ_u y[q - u] [index[q - u] = the tap of (u, φ)]

    with as many terms as there are shifts: one for windows side by side, and for 3×3 windows of
    stride 2 four, not nine. Phases have an axis of their own, over which y and index broadcast, so
    that nothing is interleaved.
    """
    n, c = y.shape[0], y.shape[-1]
    y, index = in_vectors(y), in_vectors(index)
    tables, steps = [], []
    for axis, (i, r, _, s, lo, _, d) in enumerate(geometry.axes()):
        table: dict[int, np.ndarray] = {}
        for tap in range(r):
            shift, phase = divmod(d * tap - lo, s)
            table.setdefault(shift, np.full(s, -1))[phase] = tap
        tables.append(table)
        steps.append(-(-i // s))
        # What every shift sees of the windows, and nothing beyond them.
        sides = max(table), steps[axis] - geometry.output_size[axis] - min(table)
        y, index = pad(y, axis, *sides), pad(index, axis, *sides, -1)
    if any(len(table) > 1 for table in tables):  # or XLA pads again for each shift and each pixel
        y, index = lax.optimization_barrier((y, index))
    zero, between = jnp.zeros((), y.dtype), [2 * axis + 2 for axis in range(geometry.rank)]

    def term(shifts):
        numbers = _numbers_of([table[u] for table, u in zip(tables, shifts, strict=True)], geometry)
        moved, chosen = y, index
        for axis, (u, table, size) in enumerate(zip(shifts, tables, steps, strict=True)):
            start = max(table) - u
            moved, chosen = (
                lax.slice_in_dim(a, start, start + size, axis=axis + 1) for a in (moved, chosen)
            )
        numbers = jnp.expand_dims(jnp.asarray(numbers, index.dtype), -1)
        is_mine = jnp.expand_dims(chosen, between) == numbers
        return jnp.where(is_mine, jnp.expand_dims(moved, between), zero)

    x = add_up(term(shifts) for shifts in itertools.product(*tables))
    whole = tuple(size * s for size, s in zip(steps, geometry.strides, strict=True))
    if whole == geometry.input_size:
        return row_major(x).reshape(n, *whole, c)
    # Not on its own, or all would be written once more to be cut.
    return lax.slice(x.reshape(n, *whole, c), (0,) * (len(whole) + 2), (n, *geometry.input_size, c))


def _numbers_of(taps_of_phases: list[np.ndarray], geometry: Geometry) -> np.ndarray:
    """The row-major number of the tap at each combination of phases, -2 where an axis has none."""
    numbers, exist = np.zeros((), int), np.ones((), bool)
    for of_phase, r in zip(taps_of_phases, geometry.window, strict=True):
        numbers = numbers[..., None] * r + of_phase
        exist = exist[..., None] & (of_phase >= 0)
    numbers = np.where(exist, numbers, -2)
    return np.expand_dims(numbers, (0, *(2 * axis + 1 for axis in range(geometry.rank)), -1))


def _large_side_by_side(geometry: Geometry) -> bool:
    """Where slices would be many, or are all of the map, and a reshape does the same."""
    many = math.prod(geometry.window) > MAX_TAPS or math.prod(geometry.output_size) == 1
    return many and _side_by_side.applies(geometry)


def _same(a: Array, b: Array) -> Array:
    return (a == b) | (_is_nan(a) & _is_nan(b))


def _lowest(dtype: np.dtype) -> int | float:
    """What no element of a dtype is below."""
    if jnp.issubdtype(dtype, jnp.floating):
        has_infinity = np.isinf(np.array(-np.inf).astype(dtype))
        return -np.inf if has_infinity else float(jnp.finfo(dtype).min)
    return int(jnp.iinfo(dtype).min)


def _is_nan(x: Array) -> Array:
    return x != x  # also for integers, where it is False everywhere
