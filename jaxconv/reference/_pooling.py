"""Pools, window by window."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy import ndarray

from ._convolution import Padding, Size, output_size, per_axis, spatial_axes, terms, wide, zeros


def max_pool(x: ndarray, *args: Any, **options: Any) -> ndarray:
    """y[n,p,c] = max x[n,i,c] over the i in the window of p. A NaN is the maximum.

    Padding is -inf. The options of this function and of the other pools are those of `_windows`.
    """
    windows, y_shape = _windows(x.shape, *args, **options)
    x, y = wide(x), np.full(y_shape, -np.inf)
    for p, window in windows:
        y[:, *p] = np.max([x[:, *i] for i in window], axis=0)
    return y


def max_pool_vjp(
    x: ndarray, y_bar: ndarray, *args: Any, ties: str = "first", **options: Any
) -> ndarray:
    """x_bar[n,i,c] = Σ y_bar[n,p,c] [i holds the maximum of the window of p].

    A NaN is the maximum of its window. A window of padding alone contributes nothing. Of several
    maxima the first in row-major order receives y_bar. With `ties` "all" each of them receives it,
    and with "split" each receives an equal share.
    """
    windows, _ = _windows(x.shape, *args, **options)
    x, y_bar, x_bar = wide(x), wide(y_bar), zeros(x.shape, y_bar)
    for p, window in windows:
        values = np.array([x[:, *i] for i in window])
        largest = values.max(axis=0)
        wins = (values == largest) | np.isnan(values)
        if ties == "first":
            wins &= np.cumsum(wins, axis=0) == 1
        share = y_bar[:, *p] / (wins.sum(axis=0) if ties == "split" else 1)
        for i, wins_here in zip(window, wins, strict=True):
            x_bar[:, *i] += np.where(wins_here, share, 0)
    return x_bar


def max_pool_with_argmax(x: ndarray, *args: Any, **options: Any) -> tuple[ndarray, ndarray]:
    """The maximum of each window and its number among all pixels, row-major; -1 for padding."""
    windows, y_shape = _windows(x.shape, *args, **options)
    x, argmax = wide(x), np.full(y_shape, -1)
    for p, window in windows:
        numbers = np.array([np.ravel_multi_index(i, x.shape[1:-1]) for i in window])
        argmax[:, *p] = numbers[np.argmax([x[:, *i] for i in window], axis=0)]
    return max_pool(x, *args, **options), argmax


def max_unpool(
    y: ndarray, argmax: ndarray, output_size: Sequence[int], *, overlap: str = "sum"
) -> ndarray:
    """x[n,i,c] = Σ y[n,p,c] over the p whose argmax is i, or their mean."""
    n, *_, c = y.shape
    total, count = np.zeros((n, np.prod(output_size), c)), np.zeros((n, np.prod(output_size), c))
    for index in np.ndindex(y.shape):
        if argmax[index] >= 0:
            total[index[0], argmax[index], index[-1]] += y[index]
            count[index[0], argmax[index], index[-1]] += 1
    x = total / np.maximum(count, 1) if overlap == "mean" else total
    return x.reshape(n, *output_size, c)


def min_pool(x: ndarray, *args: Any, **options: Any) -> ndarray:
    """y = -max_pool(-x). A NaN is the minimum, and padding is +inf."""
    return -max_pool(-wide(x), *args, **options)


def unfold(
    x: ndarray, window_shape: Size, strides: Size = 1, *args: Any, **options: Any
) -> ndarray:
    """y[n,p,r·c+j] = x[n,i,j] for the pixel i under tap r of the window of p. Padding is 0."""
    axes = _pool_axes(x.shape, window_shape, strides, *args, **options)
    taps = list(np.ndindex(*(window for _, window, *_ in axes)))
    y = zeros((x.shape[0], *output_size(axes), len(taps) * x.shape[-1]), x)
    y = y.reshape(*y.shape[:-1], len(taps), x.shape[-1])
    for i, r, p in terms(axes):
        y[:, *p, taps.index(r)] = x[:, *i]
    return y.reshape(*y.shape[:-2], len(taps) * x.shape[-1])


def fold(
    y: ndarray,
    output_size: Sequence[int],
    window_shape: Size,
    strides: Size = 1,
    *args: Any,
    **options: Any,
) -> ndarray:
    """x[n,i,j] = Σ y[n,p,r·c+j] over the windows p whose tap r lies on the pixel i."""
    shape = (1, *output_size, 1)
    axes = _pool_axes(shape, window_shape, strides, *args, **options)
    taps = list(np.ndindex(*(window for _, window, *_ in axes)))
    y = wide(y).reshape(*y.shape[:-1], len(taps), y.shape[-1] // len(taps))
    x = zeros((y.shape[0], *output_size, y.shape[-1]), y)
    for i, r, p in terms(axes):
        x[:, *i] += y[:, *p, taps.index(r)]
    return x


def sum_pool(x: ndarray, *args: Any, **options: Any) -> ndarray:
    """y[n,p,c] = Σ x[n,i,c] over the i in the window of p. Padding adds 0."""
    windows, y_shape = _windows(x.shape, *args, **options)
    x, y = wide(x), zeros(y_shape, x)
    for p, window in windows:
        y[:, *p] = sum(x[:, *i] for i in window)
    return y


def avg_pool(
    x: ndarray, window_shape: Size, *args: Any, count_include_pad: bool = True, **options: Any
) -> ndarray:
    """The sum pool, divided by the number of taps on the input and its padding, or on the input.

    The window that `ceil_mode` adds may have taps beyond the padding. These do not count.
    """
    if count_include_pad:
        taps = _taps_on_padded_input(x.shape, window_shape, *args, **options)
    else:
        taps = np.maximum(sum_pool(np.ones(x.shape), window_shape, *args, **options), 1)
    return sum_pool(x, window_shape, *args, **options) / taps


def _taps_on_padded_input(x_shape, window_shape, *args, ceil_mode=False, **options):
    """The number of taps of each window that lie within input and padding."""
    within = _pool_axes(x_shape, window_shape, *args, **options)
    axes = [_one_more(axis) for axis in within] if ceil_mode else within
    taps = np.zeros((1, *output_size(axes), 1))
    for p in np.ndindex(*output_size(axes)):
        for r in np.ndindex(*(w for _, w, *_ in axes)):
            reached = zip(p, r, within, strict=True)
            taps[:, *p] += all(
                s * p_a + d * r_a < n + lo + hi for p_a, r_a, (n, _, s, lo, hi, _, d) in reached
            )
    return taps


def lp_pool(x: ndarray, p: int | float, *args: Any, **options: Any) -> ndarray:
    """The p-norm of each window."""
    return sum_pool(np.abs(wide(x)) ** p, *args, **options) ** (1 / p)


def global_avg_pool(x: ndarray) -> ndarray:
    """y[n,c], the mean of x[n,i,c] over all i."""
    return wide(x).mean(axis=tuple(range(1, x.ndim - 1)))


def global_max_pool(x: ndarray) -> ndarray:
    """y[n,c], the maximum of x[n,i,c] over all i."""
    return wide(x).max(axis=tuple(range(1, x.ndim - 1)))


def adaptive_avg_pool(x: ndarray, output_size: Size) -> ndarray:
    """The mean over part p of q, the pixels i with floor(p n / q) <= i < ceil((p + 1) n / q)."""
    return _adaptive(np.mean, x, output_size)


def adaptive_max_pool(x: ndarray, output_size: Size) -> ndarray:
    """The maximum over the same parts."""
    return _adaptive(np.max, x, output_size)


def _adaptive(reduce, x, output_size):
    (n, *size, c), x = x.shape, wide(x)
    spatial = tuple(range(1, x.ndim - 1))
    y = np.zeros([n, *map(int, per_axis(output_size, len(size))), c])
    for p in np.ndindex(y.shape[1:-1]):
        ends = zip(p, size, y.shape[1:-1], strict=True)
        part = (slice(p_a * n_a // q, -(-(p_a + 1) * n_a // q)) for p_a, n_a, q in ends)
        y[:, *p] = reduce(x[:, *part], axis=spatial)
    return y


def _windows(
    x_shape: Sequence[int],
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
):
    """Each output position `p` with the `i` in its window, in row-major order; the output shape."""
    n, *_, c = x_shape
    axes = _pool_axes(x_shape, window_shape, strides, padding, window_dilation=window_dilation)
    axes = [_one_more(axis) for axis in axes] if ceil_mode else axes
    by_position = groupby(terms(axes), key=lambda term: term[2])
    windows = ((p, [i for i, _, _ in group]) for p, group in by_position)
    return windows, (n, *output_size(axes), c)


def _pool_axes(
    x_shape: Sequence[int],
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
):
    _, *x_size, _ = x_shape
    window = per_axis(window_shape, len(x_size))
    strides = window if strides is None else strides
    return spatial_axes(x_size, window, strides, padding, 1, window_dilation)


def _one_more(axis):
    """The axis with high padding for one more window, if the windows do not cover all of it.

    A window that would start behind the input, in the high padding, is not added.
    """
    n, w, s, lo, hi, e, d = axis
    (windows,) = output_size([axis])
    start, reach = s * windows, d * (w - 1) + 1
    if start - s + reach < n + lo + hi and start < n + lo:
        hi = start + reach - n - lo
    return n, w, s, lo, hi, e, d
