"""Sliding windows without scatter, gather or `reduce_window`: shifted slices and their transposes.

A window's tap r sees, at the output position p, the padded input at s·p + d·r. Over all p that is
one strided slice, so a reduction over windows combines R slices, axis by axis where it separates.

XLA's own `select_and_scatter` does the same by a scalar loop, tens of times slower on a CPU; it
drops the gradient of windows with a NaN and knows no dilation.

Unrolled taps would make a program of thousands of operations for a window that spans an image.
Large windows therefore go through a loop over taps, or XLA's `reduce_window` where that is a plain
sum.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Pooled, Taps
from ._arrays import accumulator, add_up
from ._sliding import (
    MAX_TAPS,
    all_taps,
    pad,
    pad_to_taps,
    padded,
    place_all_taps,
    place_taps,
    reach,
    taps,
)

# Taps that are unrolled along one axis.
MAX_TAPS_PER_AXIS = 32


def sum_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """y[p] = Σ_r x[s·p + d·r - lo], one axis after the other."""
    total = x.astype(accumulator(x.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            total = _sum_along(pad_to_taps(total, axis, geometry, fill=0), axis, geometry)
        else:
            total = add_up(taps(total, axis, geometry, fill=0))
    return total.astype(x.dtype)


def spread_windows(y: Pooled, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over all taps of all windows that see i: the transpose of `sum_windows`."""
    total = y.astype(accumulator(y.dtype))
    for axis in range(geometry.rank):
        if geometry.window[axis] > MAX_TAPS_PER_AXIS:
            back = geometry.transposed()
            (lo, hi), gaps = back.padding[axis], back.input_dilation[axis] - 1
            total = _sum_along(pad(total, axis, lo, hi, 0, gaps), axis, back)
        else:
            total = place_taps(lambda _, total=total: total, axis, geometry)
    return total.astype(y.dtype)


def max_of_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """The largest element of each window; NaN where it holds one; the lowest value where empty."""
    best = x
    for axis in reversed(range(geometry.rank)):
        first, *others = taps(best, axis, geometry, fill=_lowest(x.dtype))
        best = first
        for tap in others:
            best = jnp.maximum(best, tap)
    return best


def max_and_argmax(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first in row-major order among equals.

    NaN counts as the largest. Padding is never chosen; a window of padding alone has tap -1.
    """
    dtype = index_dtype(geometry)
    has_padding = any(lo > 0 or hi > 0 for lo, hi in geometry.padding)
    best, taps_inside = x, 1
    index = jnp.zeros(x.shape, dtype)
    # The innermost axis first: then, among equals, the lowest outer tap is met first, as it should.
    for axis in reversed(range(geometry.rank)):
        values = taps(best, axis, geometry, fill=_lowest(x.dtype))
        indices = taps(index, axis, geometry, fill=-1)
        best, index = values[0], indices[0]
        for r in range(1, geometry.window[axis]):
            larger = ~(values[r] <= best) & ~_is_nan(best)  # a NaN counts as the largest
            if has_padding:
                larger = (indices[r] >= 0) & (larger | (index < 0))
            best = jnp.where(larger, values[r], best)
            index = jnp.where(larger, indices[r] + jnp.asarray(r * taps_inside, dtype), index)
        taps_inside *= geometry.window[axis]
    # Without the barrier XLA would choose again, from the whole map, wherever one of the two is
    # needed, in the reverse pass above all.
    return lax.optimization_barrier((best, index))


def gather_windows(x: Input, index: Taps, *, geometry: Geometry) -> Pooled:
    """y[p] = x[s·p + d·index[p] - lo]; zero where the index is -1."""
    if math.prod(geometry.window) > MAX_TAPS:
        return _gather_in_a_loop(x, index, geometry)

    zero = jnp.zeros((), x.dtype)
    return add_up(
        jnp.where(index == tap, seen, zero) for tap, seen in enumerate(all_taps(x, geometry))
    )


def scatter_windows(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over the windows whose index points at i: the transpose of `gather_windows`."""
    wide = y.astype(accumulator(y.dtype))
    if math.prod(geometry.window) > MAX_TAPS:
        return _scatter_in_a_loop(wide, index, geometry).astype(y.dtype)
    zero = jnp.zeros((), wide.dtype)
    x = place_all_taps(lambda tap: jnp.where(index == tap, wide, zero), geometry)
    return x.astype(y.dtype)


def index_dtype(geometry: Geometry) -> np.dtype:
    """The smallest signed integer that can number the taps of a window."""
    return np.min_scalar_type(-math.prod(geometry.window))


def _gather_in_a_loop(x: Array, index: Array, geometry: Geometry) -> Array:
    (x, _), strides = padded(x, geometry), (1, *geometry.strides, 1)
    seen = (x.shape[0], *(reach(axis, geometry) for axis in range(geometry.rank)), x.shape[-1])

    def pick(tap, y):
        slab = lax.dynamic_slice(x, _start(tap, geometry), seen)
        return jnp.where(index == tap, lax.slice(slab, (0,) * x.ndim, seen, strides), y)

    # From the first term on: zeros would not vary over the axes of a `shard_map`, as the terms do.
    first = pick(jnp.zeros((), int), jnp.zeros(index.shape, x.dtype))
    return lax.fori_loop(1, math.prod(geometry.window), pick, first)


def _scatter_in_a_loop(y: Array, index: Array, geometry: Geometry) -> Array:
    n, *_, c = y.shape
    shape = jax.eval_shape(
        lambda x: padded(x, geometry)[0],
        jax.ShapeDtypeStruct((n, *geometry.input_size, c), y.dtype),
    ).shape
    gaps = [(0, 0, 0), *((0, 0, stride - 1) for stride in geometry.strides), (0, 0, 0)]
    zero = jnp.zeros((), y.dtype)

    def place(tap, x):
        term = lax.pad(jnp.where(index == tap, y, zero), zero, gaps)
        start = _start(tap, geometry)
        slab = lax.dynamic_slice(x, start, term.shape)
        return lax.dynamic_update_slice(x, slab + term, start)

    first = place(jnp.zeros((), int), jnp.zeros(shape, y.dtype))
    x = lax.fori_loop(1, math.prod(geometry.window), place, first)
    for axis, (size, (lo, _)) in enumerate(zip(geometry.input_size, geometry.padding, strict=True)):
        x = pad(x, axis, -lo, lo + size - shape[axis + 1], 0)
    return x


def _start(tap: Array, geometry: Geometry) -> list[Array]:
    """Where in the padded input the first window has its tap of this number."""
    offsets = jnp.unravel_index(tap, geometry.window)
    spaced = (d * r for d, r in zip(geometry.kernel_dilation, offsets, strict=True))
    zero = jnp.zeros_like(tap)
    return [zero, *spaced, zero]


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


def _lowest(dtype: np.dtype) -> int | float:
    if jnp.issubdtype(dtype, jnp.floating):
        return -np.inf
    return int(jnp.iinfo(dtype).min)


def _is_nan(x: Array) -> Array:
    return x != x  # also for integers, where it is False everywhere
