"""The literal meaning of the equations, in NumPy: brackets, lookups, derivatives.

One index counts the positions of all spatial axes in row-major order. `i` counts the pixels of the
input, `r` the taps of the kernel and `p` the positions of the output. Rotating a kernel by 180° is
then counting its taps backwards.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from .._arguments import Padding, Size, convolution_geometry
from .._geometry import Geometry
from ..ops._pool_options import PoolOptions

# The step of the complex-step derivative. It is a power of two, so dividing by it is exact. Its
# square is below the last digit of every value that occurs.
TINY = 2.0**-200


class Spacing(NamedTuple):
    """The options of a convolution, as `jaxconv.conv` takes them."""

    strides: Size = 1
    padding: Padding = "VALID"
    input_dilation: Size = 1
    kernel_dilation: Size = 1
    groups: int = 1

    def geometry(self, x: ndarray, w: ndarray) -> Geometry:
        """The geometry of the convolution of `x` with `w`."""
        return _convolution_geometry(x.shape[1:-1], w.shape[:-2], *map(_hashable, self))

    def options(self) -> dict:
        """The options as keyword arguments of `jaxconv.conv`."""
        names = "strides", "padding", "input_dilation", "kernel_dilation", "feature_group_count"
        return dict(zip(names, self, strict=True))


def pool_windows(
    size: tuple[int, ...],
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    dilation: Size = 1,
) -> Geometry:
    """The geometry of a pool, which is that of a convolution with the same windows."""
    return _pool_geometry(size, *map(_hashable, (window_shape, strides, padding, dilation)))


# A complex-step derivative asks for one geometry once for each element.


@lru_cache(maxsize=32)
def _convolution_geometry(size, window, *spacing) -> Geometry:
    return convolution_geometry("derivation", size, window, *spacing)


@lru_cache(maxsize=32)
def _pool_geometry(size, *options) -> Geometry:
    return PoolOptions("derivation", *options).geometry(size)


def _hashable(option):
    is_sequence = isinstance(option, Sequence) and not isinstance(option, str)
    return tuple(map(_hashable, option)) if is_sequence else option


def derivative(f: Callable[[ndarray], Any], x: ndarray) -> ndarray:
    """The Jacobian ∂f/∂x of shape `(*f(x).shape, *x.shape)`, exact to rounding.

    f(x + ih) = f(x) + ih f'(x) - h² f''(x)/2 - …, so the imaginary part divided by h is f'(x) up to
    terms of order h². There is no subtraction that could cancel digits. So h can be so small that
    h² is below the last digit.
    """
    columns = []
    for index in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[index] += 1j * TINY
        columns.append(np.imag(f(moved)) / TINY)
    slopes = np.array(columns).reshape(*x.shape, *np.shape(columns[0] if columns else f(x)))
    return np.moveaxis(slopes, range(x.ndim), range(-x.ndim, 0))


@lru_cache(maxsize=32)
def meets(geometry: Geometry) -> ndarray:
    """The bracket [e·i + lo = s·p + d·r] as zeros and ones, `(i, r, p)`."""
    bracket = np.ones((1, 1, 1))
    for i, r, p, s, lo, e, d in geometry.axes():
        pixels, taps, places = np.arange(i), np.arange(r), np.arange(p)
        axis = e * pixels[:, None, None] + lo == s * places + d * taps[:, None]
        both = np.einsum("irp,jsq->ijrspq", bracket, axis)
        bracket = both.reshape(*(a * b for a, b in zip(bracket.shape, axis.shape, strict=True)))
    return bracket


def lookup(y: ndarray, places: Sequence[ndarray], grid: Sequence[int]) -> ndarray:
    """The pixels of `y` at `places / grid`, and 0 where there is no pixel, `(n, *, *, c)`.

    For each spatial axis, `places` has a table of positions of shape `(a, b)`. The first axes of
    all tables form the second axis of the result, and their second axes form its third axis.
    """
    for axis, (table, step) in enumerate(zip(places, grid, strict=True)):
        at, size = 1 + 2 * axis, y.shape[1 + 2 * axis]
        inside = (table % step == 0) & (0 <= table) & (table < step * size)
        zero = np.zeros((*y.shape[:at], 1, *y.shape[at + 1 :]), y.dtype)
        with_zero = np.concatenate([y, zero], at)
        y = with_zero.take(np.where(inside, table // step, size), at)
    return paired(y)


def paired(y: ndarray) -> ndarray:
    """Collect axes `(n, a, b, a', b', …, c)` into `(n, a a' …, b b' …, c)`."""
    n, *sizes, c = y.shape
    order = (0, *range(1, y.ndim - 1, 2), *range(2, y.ndim - 1, 2), y.ndim - 1)
    rows, columns = sizes[0::2], sizes[1::2]
    return y.transpose(order).reshape(n, int(np.prod(rows)), int(np.prod(columns)), c)


def dilate_and_pad(
    y: ndarray, grid: Sequence[int], lows: Sequence[int], sizes: Sequence[int]
) -> ndarray:
    """Zeros of the given sizes with the pixels of `y` in them, `grid` apart, from `lows` on.

    A negative element of `lows`, or a small size, crops.
    """
    for axis, (step, lo, size) in enumerate(zip(grid, lows, sizes, strict=True), start=1):
        places = lo + step * np.arange(y.shape[axis])
        inside = (0 <= places) & (places < size)
        shape = (*y.shape[:axis], size, *y.shape[axis + 1 :])
        wide = np.zeros(shape, y.dtype)
        np.moveaxis(wide, axis, 0)[places[inside]] = np.moveaxis(y, axis, 0)[inside]
        y = wide
    return y


def table(first: int, count: int, step: int, taps: int, spacing: int) -> ndarray:
    """The positions first + step·p + spacing·r, of shape `(p, r)`."""
    return first + step * np.arange(count)[:, None] + spacing * np.arange(taps)


def split_groups(x: ndarray, groups: int) -> ndarray:
    """The channels `c` as two axes `(group, c / groups)`."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def flat(x: ndarray, groups: int) -> ndarray:
    """A feature map `(n, *spatial, c)` as `(n, i, group, c / groups)`."""
    n, *spatial, c = x.shape
    return split_groups(x.reshape(n, int(np.prod(spatial)), c), groups)


def flat_kernel(w: ndarray, groups: int) -> ndarray:
    """A kernel `(*window, c, o)` as `(r, c, group, o / groups)`."""
    *window, c, o = w.shape
    return split_groups(w.reshape(int(np.prod(window)), c, o), groups)


def convolved(x: ndarray, w: ndarray, spacing: Spacing) -> ndarray:
    """Σ x[n,i,c] w[r,c,o] [e·i + lo = s·p + d·r], evaluated literally, `(n, *output, o)`."""
    geometry = spacing.geometry(x, w)
    matrix = np.einsum("rcgo,irp->icpgo", flat_kernel(w, spacing.groups), meets(geometry))
    z = np.einsum("nigc,icpgo->npgo", flat(x, spacing.groups), matrix)
    return z.reshape(len(x), *geometry.output_size, w.shape[-1])
