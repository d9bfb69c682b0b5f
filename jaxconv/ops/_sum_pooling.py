"""Sum and average pooling: linear, and so their own derivatives."""

import numpy as np

from .. import algorithms
from .._geometry import Geometry, Padding, Size
from .._typing import AnyArray, Array
from ._windows import geometry_of, inexact_map, numeric_map, window_sum, written_padding


def sum_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """Add up each window of a feature map.

        y[n,p,c] = Σ_r x[n, s·p + d·r - lo, c]                                                 (1)

    Linear in `x`, so the JVP is (1) itself. Its transpose is

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] [s·p + d·r - lo = i]                               (2)

    every pixel receives the errors of all windows that contain it. For windows side by side, that
    is nearest-neighbour upscaling: (2) is `upscale`, and `upscale`'s transpose is (1).

    Args:
      x: Feature map `(n, *spatial, c)`. Floating point narrower than float32 is added up in
        float32; integers stay in their dtype, and wrap around where it is too small.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is zero.
      window_dilation: Spacing d of the elements of a window.
      ceil_mode: Round the number of windows up: a last window that starts on the input or its low
        padding counts even if it goes over the high end. What it sees there is zero.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input, with
        `ceil_mode` by a stride or more.
      TypeError: `x` is no array of numbers, or one of float8_e8m0fnu, which has no zero; an option
        has the wrong type.

    Source: `conv` with a kernel of ones and one group a channel; the derivative is its derivative.

    >>> import jax.numpy as jnp
    >>> sum_pool(jnp.ones((1, 4, 4, 1)), 2)[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    x = numeric_map("sum_pool", x)
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of("sum_pool", x, *options)
    return window_sum(x, geometry=geometry)


def avg_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Take the mean of each window of a feature map.

        y[n,p,c] = 1/N[p] Σ_r x[n, s·p + d·r - lo, c]                                          (1)

    with N[p] the number of taps that lie on the input or the padding, which is that of all taps R
    but in the last windows of `ceil_mode`; or, without the padding, that of the taps on the input.
    Linear in `x`; its transpose hands each pixel its share of the error:

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] / N[p] [s·p + d·r - lo = i]                        (2)

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is
        added up and divided in float32.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is zero.
      window_dilation: Spacing d of the elements of a window.
      ceil_mode: Round the number of windows up: a last window that starts on the input or its low
        padding counts even if it goes over the high end. Its taps beyond the padding
        are zero and not counted.
      count_include_pad: Count the taps on the padding; False divides by the taps that lie on the
        input, and gives 0 where there are none.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input, with
        `ceil_mode` by a stride or more.
      TypeError: `x` is no array of floating-point numbers, or one of float8_e8m0fnu, which has no
        zero; an option has the wrong type.

    Source: LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990.

    >>> import jax.numpy as jnp
    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    x = inexact_map("avg_pool", x)
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of("avg_pool", x, *options)
    if not isinstance(count_include_pad, bool):
        raise TypeError(f"avg_pool: count_include_pad must be a bool, got {count_include_pad!r}.")
    wide = x.astype(algorithms.accumulator(x.dtype))  # a sum may be too large where the mean is not
    counted = ((0, 0),) * geometry.rank
    if count_include_pad:
        counted = written_padding(geometry, padding)
    counts = np.asarray(np.prod(geometry.window))
    if counted != geometry.padding:
        counts = np.maximum(_taps_on(counted, geometry), 1)[None, ..., None]
    return (window_sum(wide, geometry=geometry) / counts.astype(wide.dtype)).astype(x.dtype)


def _taps_on(sides: tuple[tuple[int, int], ...], geometry: Geometry) -> np.ndarray:
    """How many taps of the window at each output position lie on the input with these sides."""
    counts = np.ones((), int)
    for (below, above), (i, r, p, s, lo, _, d) in zip(sides, geometry.axes(), strict=True):
        seen = s * np.arange(p)[:, None] + d * np.arange(r) - lo
        counts = counts[..., None] * np.sum((-below <= seen) & (seen < i + above), axis=1)
    return counts
