"""Windows that lie side by side: a reshape gives each window axes of its own.

With a stride equal to the window, and neither padding nor dilation, the map `(n, h, w, c)` is an
array `(n, h/k, k, w/l, l, c)` whose axes k and l run inside the windows. Reductions then need no
slices, however large a window is. A window that covers the whole map, global pooling, is the case
h/k = 1.
"""

import math

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled, Taps
from ._dtypes import accumulator
from ._hints import Hints
from ._padding import pad_spatial


def applies(geometry: Geometry) -> bool:
    """Whether all windows lie side by side. A rest at the high end does not matter."""
    return all(
        axis.lo == 0
        and axis.s * (axis.p - 1) + axis.r <= axis.i
        and (axis.s == axis.r or axis.p == 1)
        and (axis.d == 1 or axis.r == 1)
        for axis in geometry.axes()
    )


def sums(x: Input, *, geometry: Geometry) -> Pooled:
    """The sum of each window."""
    wide = x.astype(accumulator(x.dtype))
    by_window = _split_windows(wide, geometry)
    return by_window.sum(_inside(geometry), dtype=wide.dtype).astype(x.dtype)


def spread(y: Pooled, *, geometry: Geometry) -> Input:
    """Each y in every place of its window: the transpose of `sums`."""
    return _join_windows(_over_window(y, geometry), geometry)


def maxima(x: Input, *, geometry: Geometry, hints: Hints) -> Pooled:
    """The largest element of each window, NaN where it holds one."""
    return hints.maximum(_split_windows(x, geometry), _inside(geometry))


def first_maxima(x: Input, dtype, *, geometry: Geometry, hints: Hints) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first among equals. NaN is larger."""
    best = maxima(x, geometry=geometry, hints=hints)
    parts, largest = _split_windows(x, geometry), _over_window(best, geometry)
    is_best = (parts == largest) | (parts != parts)
    last = jnp.asarray(math.prod(geometry.window) - 1, dtype)
    return best, jnp.where(is_best, _tap_numbers(geometry, dtype), last).min(_inside(geometry))


def first_maxima_in_one_pass(
    x: Input, dtype, *, lowest: int | float, geometry: Geometry
) -> tuple[Pooled, Taps]:
    """As `first_maxima`, by a reduction of pairs, for backends that reduce these fast."""
    parts = _split_windows(x, geometry)
    numbers = jnp.broadcast_to(_tap_numbers(geometry, dtype), parts.shape)

    def larger(a, b):
        (value, tap), (other, other_tap) = a, b
        a_is_nan, b_is_nan = value != value, other != other
        a_wins = (value > other) | (a_is_nan & ~b_is_nan)
        equal = (value == other) | (a_is_nan & b_is_nan)
        first = a_wins | (equal & (tap < other_tap))
        return jnp.where(first, value, other), jnp.where(first, tap, other_tap)

    last = jnp.asarray(math.prod(geometry.window) - 1, dtype)
    start = (jnp.asarray(lowest, x.dtype), last)
    return lax.reduce((parts, numbers), start, larger, _inside(geometry))


def gather(x: Input, index: Taps, *, geometry: Geometry) -> Pooled:
    """The element of each window that its index names; zero where the index is -1."""
    chosen = _tap_numbers(geometry, index.dtype) == _over_window(index, geometry)
    parts = _split_windows(x, geometry)
    return jnp.where(chosen, parts, jnp.zeros((), x.dtype)).sum(_inside(geometry), dtype=x.dtype)


def scatter(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """Each y in the place that its index names: the transpose of `gather`."""
    chosen = _tap_numbers(geometry, index.dtype) == _over_window(index, geometry)
    placed = jnp.where(chosen, _over_window(y, geometry), jnp.zeros((), y.dtype))
    return _join_windows(placed, geometry)


def _inside(geometry: Geometry) -> tuple[int, ...]:
    """The axes of `_split_windows` that run inside the windows."""
    return tuple(2 * axis + 2 for axis in range(geometry.rank))


def _split_windows(x: Array, geometry: Geometry) -> Array:
    """`(n, *p·r, c)` as `(n, *(p, r), c)`, without the rest at the high end."""
    n, *_, c = x.shape
    sizes = list(zip(geometry.output_size, geometry.window, strict=True))
    x = lax.slice(x, (0,) * x.ndim, (n, *(p * r for p, r in sizes), c))
    return x.reshape(n, *(size for pair in sizes for size in pair), c)


def _over_window(y: Array, geometry: Geometry) -> Array:
    """Values of windows with axes of 1, to broadcast against `_split_windows`."""
    return jnp.expand_dims(y, _inside(geometry))


def _join_windows(parts: Array, geometry: Geometry) -> Array:
    """The transpose of `_split_windows`, which also broadcasts over the windows."""
    n, c = parts.shape[0], parts.shape[-1]
    sizes = list(zip(geometry.output_size, geometry.window, strict=True))
    x = jnp.broadcast_to(parts, (n, *(size for pair in sizes for size in pair), c))
    x = x.reshape(n, *(p * r for p, r in sizes), c)
    for axis, (size, (p, r)) in enumerate(zip(geometry.input_size, sizes, strict=True)):
        x = pad_spatial(x, axis, 0, size - p * r)
    return x


def _tap_numbers(geometry: Geometry, dtype) -> Array:
    """The row-major number of each tap, to broadcast against `_split_windows`."""
    numbers = jnp.arange(math.prod(geometry.window)).astype(dtype).reshape(geometry.window)
    return jnp.expand_dims(numbers, (0, *(2 * a + 1 for a in range(geometry.rank)), -1))
