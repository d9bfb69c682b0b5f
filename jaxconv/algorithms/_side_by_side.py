"""Windows that lie side by side: a reshape gives each window axes of its own.

With stride = window, and neither padding nor dilation, the map `(n, h, w, c)` is an array
`(n, h/k, k, w/l, l, c)` whose axes k and l run inside the windows: reductions need no slices,
however large a window is. A window that covers the whole map, global pooling, is the case h/k = 1.
"""

import math
from functools import reduce

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Pooled, Taps
from ._arrays import accumulator
from ._sliding import pad

# Of which a maximum is taken at once.
SLICES = 16


def applies(geometry: Geometry) -> bool:
    """Whether all windows lie side by side; what is left over at the high end is no matter."""
    return all(
        lo == 0 and s * (p - 1) + r <= i and (s == r or p == 1) and (d == 1 or r == 1)
        for i, r, p, s, lo, _, d in geometry.axes()
    )


def sums(x: Input, *, geometry: Geometry) -> Pooled:
    """The sum of each window."""
    wide = x.astype(accumulator(x.dtype))
    return _split(wide, geometry).sum(_inside(geometry), dtype=wide.dtype).astype(x.dtype)


def spread(y: Pooled, *, geometry: Geometry) -> Input:
    """Each y in every place of its window: the transpose of `sums`."""
    return _join(_beside(y, geometry), geometry)


def maxima(x: Input, *, geometry: Geometry) -> Pooled:
    """The largest element of each window, NaN where it holds one.

    In steps, each the largest of several slices: as fast as XLA's own reduction, which for CPUs
    forgets every NaN of a large array.
    """
    best = _split(x, geometry)
    for axis in _inside(geometry):
        while (size := best.shape[axis]) > 1:
            length = -(-size // SLICES)
            starts = sorted({min(part * length, size - length) for part in range(SLICES)})
            parts = (lax.slice_in_dim(best, i, i + length, axis=axis) for i in starts)
            # A step of its own, or XLA would write out all slices of the map at once.
            best = lax.optimization_barrier(reduce(jnp.maximum, parts))
    return lax.squeeze(best, _inside(geometry))


def first_maxima(x: Input, dtype, *, geometry: Geometry) -> tuple[Pooled, Taps]:
    """The largest element of each window and its tap, the first among equals; NaN is larger."""
    best = maxima(x, geometry=geometry)
    parts, largest = _split(x, geometry), _beside(best, geometry)
    is_best = (parts == largest) | (parts != parts)
    number_of_taps = math.prod(geometry.window)
    tap = jnp.where(is_best, _numbers(geometry, dtype), jnp.asarray(number_of_taps - 1, dtype))
    return best, tap.min(_inside(geometry))


def gather(x: Input, index: Taps, *, geometry: Geometry) -> Pooled:
    """The element of each window that its index names; zero where the index is -1."""
    chosen = _numbers(geometry, index.dtype) == _beside(index, geometry)
    parts = _split(x, geometry)
    return jnp.where(chosen, parts, jnp.zeros((), x.dtype)).sum(_inside(geometry), dtype=x.dtype)


def scatter(y: Pooled, index: Taps, *, geometry: Geometry) -> Input:
    """Each y in the place that its index names: the transpose of `gather`."""
    chosen = _numbers(geometry, index.dtype) == _beside(index, geometry)
    return _join(jnp.where(chosen, _beside(y, geometry), jnp.zeros((), y.dtype)), geometry)


def _inside(geometry: Geometry) -> tuple[int, ...]:
    """The axes of `_split` that run inside the windows."""
    return tuple(2 * axis + 2 for axis in range(geometry.rank))


def _split(x: Array, geometry: Geometry) -> Array:
    n, *_, c = x.shape
    sizes = list(zip(geometry.output_size, geometry.window, strict=True))
    x = lax.slice(x, (0,) * x.ndim, (n, *(p * r for p, r in sizes), c))
    return x.reshape(n, *(size for pair in sizes for size in pair), c)


def _beside(y: Array, geometry: Geometry) -> Array:
    """Values of windows, to be met by those of `_split`."""
    return jnp.expand_dims(y, _inside(geometry))


def _join(parts: Array, geometry: Geometry) -> Array:
    """The reverse of `_split`, which also broadcasts; what no window covers is zero."""
    n, c = parts.shape[0], parts.shape[-1]
    sizes = list(zip(geometry.output_size, geometry.window, strict=True))
    x = jnp.broadcast_to(parts, (n, *(size for pair in sizes for size in pair), c))
    x = x.reshape(n, *(p * r for p, r in sizes), c)
    for axis, (size, (p, r)) in enumerate(zip(geometry.input_size, sizes, strict=True)):
        x = pad(x, axis, 0, size - p * r)
    return x


def _numbers(geometry: Geometry, dtype) -> Array:
    """The number of each tap, row-major, to be met by the values of `_split`."""
    numbers = jnp.arange(math.prod(geometry.window)).astype(dtype).reshape(geometry.window)
    return jnp.expand_dims(numbers, (0, *(2 * a + 1 for a in range(geometry.rank)), -1))
