"""The literal meaning of what the equations say, in NumPy: brackets, lookups, derivatives.

Positions are counted by one multi-index over all spatial axes, row by row: `i` runs over the pixels
of the input, `r` over the taps of the kernel, `p` over the pixels of the output. Turning a kernel
by 180° in all its axes is then counting its taps backwards.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from .._geometry import Geometry, Padding, Size, convolution_geometry, per_axis

# For the complex step: a power of two, whose square vanishes beside any number that we meet.
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
        return _geometry(x.shape[1:-1], w.shape[:-2], *map(_hashable, self))

    def options(self) -> dict:
        """As keywords of `jaxconv.conv`."""
        names = "strides", "padding", "input_dilation", "kernel_dilation", "feature_group_count"
        return dict(zip(names, self, strict=True))


def pool_windows(
    size: tuple[int, ...],
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    dilation: Size = 1,
) -> Geometry:
    """The geometry of a pool: that of a convolution with the same windows."""
    return _pool_geometry(size, *map(_hashable, (window_shape, strides, padding, dilation)))


# A derivative asks for the same geometry again and again.


@lru_cache(maxsize=32)
def _geometry(size, window, *spacing) -> Geometry:
    return convolution_geometry("derivation", size, window, *spacing)


@lru_cache(maxsize=32)
def _pool_geometry(size, window_shape, strides, padding, dilation) -> Geometry:
    window = per_axis(window_shape, len(size), "window_shape")
    strides = window if strides is None else strides
    return convolution_geometry("derivation", size, window, strides, padding, 1, dilation, 1)


def _hashable(option):
    is_sequence = isinstance(option, Sequence) and not isinstance(option, str)
    return tuple(map(_hashable, option)) if is_sequence else option


def derivative(f: Callable[[ndarray], Any], x: ndarray) -> ndarray:
    """The Jacobian ∂f/∂x of shape `(*f(x).shape, *x.shape)`, exact to rounding.

    By the complex step, f(x + ih) = f(x) + ih f'(x) - h² f''(x)/2 - …: the imaginary part over h is
    f'(x), nothing is subtracted, and h can be so small that h² is beyond the last digit.
    """
    columns = []
    for index in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[index] += 1j * TINY
        columns.append(np.imag(f(moved)) / TINY)
    slopes = np.array(columns).reshape(*x.shape, *columns[0].shape)
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
    """The pixels of `y` at `places / grid`, and 0 where there is none, `(n, *, *, c)`.

    On each spatial axis `places` is a table of positions, of shape `(a, b)`; the tables' first axes
    become the first multi-index of the result, their second axes the second.
    """
    for axis, (table, step) in enumerate(zip(places, grid, strict=True)):
        at, size = 1 + 2 * axis, y.shape[1 + 2 * axis]
        inside = (table % step == 0) & (0 <= table) & (table < step * size)
        with_zero = np.concatenate([y, np.zeros_like(y.take([0], at))], at) if size else y
        y = with_zero.take(np.where(inside, table // step, size), at)
    return paired(y)


def paired(y: ndarray) -> ndarray:
    """From axes `(n, a, b, a', b', …, c)` to `(n, a a' …, b b' …, c)`."""
    n, *sizes, c = y.shape
    order = (0, *range(1, y.ndim - 1, 2), *range(2, y.ndim - 1, 2), y.ndim - 1)
    rows, columns = sizes[0::2], sizes[1::2]
    return y.transpose(order).reshape(n, int(np.prod(rows)), int(np.prod(columns)), c)


def placed(y: ndarray, grid: Sequence[int], lows: Sequence[int], sizes: Sequence[int]) -> ndarray:
    """Zeros of the given sizes with the pixels of `y`, `grid` apart, the first one at `lows`."""
    for axis, (step, lo, size) in enumerate(zip(grid, lows, sizes, strict=True), start=1):
        places = lo + step * np.arange(y.shape[axis])
        inside = (0 <= places) & (places < size)
        shape = (*y.shape[:axis], size, *y.shape[axis + 1 :])
        wide = np.zeros(shape, y.dtype)
        np.moveaxis(wide, axis, 0)[places[inside]] = np.moveaxis(y, axis, 0)[inside]
        y = wide
    return y


def table(first: int, count: int, step: int, taps: int, spacing: int) -> ndarray:
    """The positions first + step·p + spacing·r, `(p, r)`."""
    return first + step * np.arange(count)[:, None] + spacing * np.arange(taps)


def split(x: ndarray, groups: int) -> ndarray:
    """Channels `c` as `(group, c / groups)`."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def flat(x: ndarray, groups: int) -> ndarray:
    """A feature map `(n, *spatial, c)` as `(n, i, group, c / groups)`."""
    n, *spatial, c = x.shape
    return split(x.reshape(n, int(np.prod(spatial)), c), groups)


def flat_kernel(w: ndarray, groups: int) -> ndarray:
    """A kernel `(*window, c, o)` as `(r, c, group, o / groups)`."""
    *window, c, o = w.shape
    return split(w.reshape(int(np.prod(window)), c, o), groups)


def convolved(x: ndarray, w: ndarray, spacing: Spacing) -> ndarray:
    """Σ x[n,i,c] w[r,c,o] [e·i + lo = s·p + d·r], literally; `(n, *output, o)`."""
    geometry = spacing.geometry(x, w)
    matrix = np.einsum("rcgo,irp->icpgo", flat_kernel(w, spacing.groups), meets(geometry))
    z = np.einsum("nigc,icpgo->npgo", flat(x, spacing.groups), matrix)
    return z.reshape(len(x), *geometry.output_size, w.shape[-1])
