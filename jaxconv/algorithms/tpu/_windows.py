"""Sums and maxima of windows as XLA's `reduce_window`, which its TPU compiler is made for.

The compiler computes a `reduce_window`, and what is element-wise before and after it, in one loop.
A sum of shifted slices, as in `shared/`, becomes several loops, each of which reads the whole map.

The transpose of a sum is such a sum again, of the map with gaps between its elements. Where windows
lie side by side it repeats elements, so no reshape has to interleave them.

The tap of a maximum comes out of the same reduction. An element of 16 bits becomes the upper half
of an integer whose lower half is its place in the map:

    key = 2^16 order(x) + lower(place),    order(a) < order(b) iff a < b, NaN is the largest   (1)

`lower` falls in row-major order. So the largest key of a window is that of its first maximum, and
it holds its value and its place. Wider elements leave no room for a place. Their taps are found by
comparing what each tap sees with the maximum.

`_maxima.py` says where kernels find the taps and scatter gradients in place of all this. They run
where one device has the arrays.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled, Taps
from ..shared import _maxima
from ..shared._arrays import add_up
from ..shared._dtypes import accumulator, of_whole_bytes
from ..shared._kernels import kernel_or_plain
from ..shared._padding import apply_cropping, pad_and_dilate
from ..shared._scatter import shifts_of
from ..shared._taps import MAX_TAPS
from . import _maxima as kernels

# The lower half of a key numbers places with these bits. Its last bit keeps the sign of a zero.
_PLACE_BITS = 15
_HALF = 2**16 - 1
# The key of padding, below all others.
_PADDING = -(2**31)
# The bits of float32's infinity, and the largest integer.
_INFINITY, _LARGEST = 0x7F800000, 2**31 - 1


def sum_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """y[p] = Σ_r x[s·p + d·r - lo]."""
    return _reduce(x.astype(accumulator(x.dtype)), 0, lax.add, geometry).astype(x.dtype)


def spread_windows(y: Pooled, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over all taps of all windows that see i: the transpose of `sum_windows`."""
    if geometry.transposed().crops_all:  # windows see only padding
        return jnp.zeros((y.shape[0], *geometry.input_size, y.shape[-1]), y.dtype)
    sides, back = apply_cropping(geometry.transposed())
    wide = pad_and_dilate(y.astype(accumulator(y.dtype)), sides)
    return _reduce(wide, 0, lax.add, back).astype(y.dtype)


def max_of_windows(x: Input, *, geometry: Geometry) -> Pooled:
    """The largest element of each window; NaN where it holds one; the lowest value where empty."""
    overlap = any(axis.d * (axis.r - 1) >= axis.s > 1 for axis in geometry.axes())
    if x.dtype == np.float32 and not overlap:
        # XLA computes integers in the loop, and would first copy floats to another layout. Where
        # windows with a stride overlap, it computes nothing in the loop.
        return _unordered(_reduce(_ordered(x), _PADDING, lax.max, geometry))
    wide = x.astype(accumulator(x.dtype))
    return _reduce(wide, _maxima.lowest_of(x.dtype), lax.max, geometry).astype(x.dtype)


def max_and_argmax(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first in row-major order among equals.

    NaN counts as the largest. Padding is never chosen. A window of padding alone has tap -1.
    """
    if not kernels.suits(x.shape[0], x.shape[-1], x.dtype, geometry):
        return _max_and_argmax(x, geometry=geometry)
    y = jax.ShapeDtypeStruct((x.shape[0], *geometry.output_size, x.shape[-1]), x.dtype)
    like = (y, y.update(dtype=_maxima.index_dtype(geometry)))
    return kernel_or_plain(
        "tpu", _max_and_argmax_by_kernel, _max_and_argmax, like, x, geometry=geometry
    )


def _max_and_argmax_by_kernel(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    # The maximum itself is a loop of XLA's, so that it is not computed where nothing needs it.
    return max_of_windows(x, geometry=geometry), kernels.taps(x, geometry=geometry)


def _max_and_argmax(x: Input, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    if x.dtype in (jnp.bfloat16, jnp.float16) and sum(_bits(geometry)) <= _PLACE_BITS:
        best = _reduce(_keys(x, geometry), _PADDING, lax.max, geometry)
        return _value(best, x.dtype), _tap(best, geometry)
    if math.prod(geometry.window) > MAX_TAPS:
        return _maxima.max_and_argmax(x, geometry=geometry)
    y = max_of_windows(x, geometry=geometry)
    wide = of_whole_bytes(x.dtype)
    return y, _first_equal(x.astype(wide), y.astype(wide), geometry)


def scatter_windows(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """x[i] = Σ y[p] over the windows whose index points at i: the transpose of `gather_windows`.

    `shared/_scatter.py` derives it.
    """
    fits = index.dtype == _maxima.index_dtype(geometry)
    if not (fits and kernels.suits(y.shape[0], y.shape[-1], y.dtype, geometry)):
        return _scatter_windows(y, index, geometry=geometry)
    like = jax.ShapeDtypeStruct((y.shape[0], *geometry.input_size, y.shape[-1]), y.dtype)
    return kernel_or_plain(
        "tpu", kernels.scatter, _scatter_windows, like, y, index, geometry=geometry
    )


def _scatter_windows(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """By reductions over windows.

    Here `y` and `index` are first repeated for the phases of the input, by a sum over windows. Two
    arrays of 16 bits are repeated as one of 32, but where several windows with a stride see an
    element: there XLA would write the array of 32 bits more often.
    """
    axes = list(geometry.axes())
    shifts_of_axes = [shifts_of(axis) for axis in axes]
    is_single = math.prod(map(len, shifts_of_axes)) == 1
    if math.prod(map(len, shifts_of_axes)) > MAX_TAPS:
        return _maxima.scatter_windows(y, index, geometry=geometry)
    moved = y.astype(of_whole_bytes(y.dtype))
    sides, sizes = [], []
    for axis, shifts in zip(axes, shifts_of_axes, strict=True):
        # Every shift sees a part of these, and nothing beyond.
        low, high = max(shifts), -(-axis.i // axis.s) - axis.p - min(shifts)
        sides.append((low, high, 0))
        sizes.append(axis.i if is_single else axis.s * (axis.p + low + high))
    fits = moved.dtype.itemsize == 2 and (is_single or set(geometry.strides) == {1})
    packed = [
        lax.pad(a, jnp.asarray(fill, a.dtype), [(0, 0, 0), *sides, (0, 0, 0)])
        for a, fill in (_pack(moved, index) if fits else ((moved, 0), (index, -1)))
    ]
    repeated = [_repeat(a, geometry.strides, sizes) for a in packed]
    wide = moved.dtype if is_single else accumulator(moved.dtype)

    def term(chosen: Sequence[int]) -> Array:
        parts, mine = repeated, jnp.zeros((), np.int32)
        for number, (axis, shifts, u) in enumerate(zip(axes, shifts_of_axes, chosen, strict=True)):
            start = axis.s * (max(shifts) - u)
            parts = [lax.slice_in_dim(a, start, start + axis.i, axis=number + 1) for a in parts]
            mine = mine + _along(number, _weighted_taps(shifts[u], number, geometry), geometry)
        value, tap = _unpack(parts, moved.dtype)
        return jnp.where(tap == mine, value.astype(wide), jnp.zeros((), wide))

    return add_up(map(term, itertools.product(*shifts_of_axes))).astype(y.dtype)


def _reduce(x: Array, initial: int | float, operation, geometry: Geometry) -> Array:
    """A reduction over windows. Padding, which must not be negative, counts as `initial`."""
    return lax.reduce_window(
        x,
        np.asarray(initial, x.dtype)[()],
        operation,
        (1, *geometry.window, 1),
        (1, *geometry.strides, 1),
        ((0, 0), *geometry.padding, (0, 0)),
        base_dilation=(1, *geometry.input_dilation, 1),
        window_dilation=(1, *geometry.kernel_dilation, 1),
    )


# Keys


def _bits(geometry: Geometry) -> list[int]:
    """The bits that number the elements of each axis."""
    return [(size - 1).bit_length() for size in geometry.input_size]


def _keys(x: Array, geometry: Geometry) -> Array:
    """(1), with the sign of a zero in the last bit, because -0 and 0 are equal."""
    bits = lax.bitcast_convert_type(x, np.int16).astype(np.int32)
    sign, size = bits >> 15, bits & 0x7FFF
    is_nan = (_bits_of_infinity(x.dtype) - size) >> 31  # -1 or 0, as are the next two
    is_negative, is_zero = sign & ~is_nan, (size - 1) >> 31
    order = ((size | (is_nan & 0x7FFF)) ^ is_negative) - is_negative
    place = jnp.zeros((), np.int32)
    for axis, (i, width) in enumerate(zip(geometry.input_size, _bits(geometry), strict=True)):
        place = (place << width) | _along(axis, np.arange(i), geometry)
    lower = ((2**_PLACE_BITS - 1 - place) << 1) | (is_negative & is_zero & 1)
    return (order << 16) | lower


def _value(key: Array, dtype: np.dtype) -> Array:
    """The element of a key."""
    order = key >> 16
    sign = order >> 15
    bits = ((order ^ sign) - sign) | ((sign | key & 1) << 15)
    value = lax.bitcast_convert_type(bits.astype(np.int16), dtype)
    return jnp.where(key == _PADDING, jnp.asarray(-np.inf, dtype), value)


def _bits_of_infinity(dtype: np.dtype) -> int:
    return int(np.array(np.inf).astype(dtype).view(np.int16))


def _tap(key: Array, geometry: Geometry) -> Array:
    """The row-major number of the tap, in its window, of the place that a key holds."""
    place, widths = 2**_PLACE_BITS - 1 - ((key & _HALF) >> 1), _bits(geometry)
    number = jnp.zeros_like(key)
    for a, (axis, width) in enumerate(zip(geometry.axes(), widths, strict=True)):
        i = (place >> sum(widths[a + 1 :])) & (2**width - 1)
        tap = i + _along(a, axis.lo - axis.s * np.arange(axis.p), geometry)
        number = number * axis.r + (tap // axis.d if axis.d > 1 else tap)
    return jnp.where(key == _PADDING, -1, number).astype(_maxima.index_dtype(geometry))


# Elements of 32 bits


def _ordered(x: Array) -> Array:
    """float32 as integers of the same order, where NaN is the largest and -0 is below 0."""
    bits = lax.bitcast_convert_type(x, np.int32)
    is_nan = (_INFINITY - (bits & _LARGEST)) >> 31
    return (bits ^ ((bits >> 31) & _LARGEST)) & ~is_nan | is_nan & _LARGEST


def _unordered(order: Array) -> Array:
    """The inverse of `_ordered`; -inf for padding."""
    value = lax.bitcast_convert_type(order ^ ((order >> 31) & _LARGEST), np.float32)
    return jnp.where(order == _PADDING, -np.inf, value)


def _first_equal(x: Array, y: Array, geometry: Geometry) -> Array:
    """The first tap of each window that sees y, its maximum, on the input; -1 where none does."""
    index = jnp.full_like(y, -1, _maxima.index_dtype(geometry))
    padded = pad_and_dilate(x, [(lo, hi, 0) for lo, hi in geometry.padding])
    has_padding = padded.shape != x.shape
    for number, tap in reversed(list(enumerate(np.ndindex(*geometry.window)))):
        axes = list(zip(geometry.axes(), tap, strict=True))
        starts = [axis.d * r for axis, r in axes]
        ends = [
            start + axis.s * (axis.p - 1) + 1 for start, (axis, _) in zip(starts, axes, strict=True)
        ]
        # One slice along all axes, which XLA computes in the loop of the comparison.
        seen = lax.slice(
            padded,
            (0, *starts, 0),
            (padded.shape[0], *ends, padded.shape[-1]),
            (1, *geometry.strides, 1),
        )
        mine = (seen == y) | (seen != seen)
        for a, (axis, r) in enumerate(axes):
            if has_padding:
                i = axis.s * np.arange(axis.p) + axis.d * r - axis.lo
                mine &= _along(a, (i >= 0) & (i < axis.i), geometry)
        index = jnp.where(mine, jnp.asarray(number, index.dtype), index)
    return index


# Repetition


def _pack(y: Array, index: Array) -> list[tuple[Array, int]]:
    """Values of 16 bits and the numbers of their taps in one array, and what pads it."""
    upper = lax.bitcast_convert_type(y, np.int16).astype(np.int32) << 16
    return [(upper | (index.astype(np.int32) & _HALF), _HALF)]


def _unpack(parts: Sequence[Array], dtype: np.dtype) -> tuple[Array, Array]:
    """Values and the numbers of their taps, which may be packed."""
    if len(parts) == 2:
        return parts[0], parts[1]
    (both,) = parts
    return lax.bitcast_convert_type((both >> 16).astype(np.int16), dtype), (both << 16) >> 16


def _repeat(a: Array, factors: Sequence[int], sizes: Sequence[int]) -> Array:
    """Repeat each element along each axis, up to its size: the only element that a window sees."""
    if all(factor == 1 for factor in factors):
        return a
    ones = (1,) * len(factors)
    sides = [
        (f - 1, size - 1 - f * (p - 1))
        for f, p, size in zip(factors, a.shape[1:-1], sizes, strict=True)
    ]
    return _reduce(
        a,
        0,
        lax.add,
        Geometry(
            a.shape[1:-1], tuple(factors), tuple(sizes), ones, tuple(sides), tuple(factors), ones
        ),
    )


def _weighted_taps(tap_of_phase: np.ndarray, number: int, geometry: Geometry) -> np.ndarray:
    """What the tap of each element along an axis adds to its row-major number.

    Where an element has no tap, the number becomes less than -1, whatever other axes add.
    """
    taps, inside = math.prod(geometry.window), math.prod(geometry.window[number + 1 :])
    weighted = np.where(tap_of_phase >= 0, tap_of_phase * inside, -2 * taps)
    return np.resize(weighted, geometry.input_size[number])


def _along(axis: int, values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Values along one spatial axis, to broadcast against a map."""
    values = values.astype(bool if values.dtype == bool else np.int32)
    return values.reshape([-1 if a == axis + 1 else 1 for a in range(geometry.rank + 2)])
