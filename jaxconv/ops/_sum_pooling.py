"""Sum and average pooling, which are linear maps."""

import numpy as np

from .. import algorithms
from .._arguments import Padding, Size
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ._checks import check_flag, inexact_map, numeric_map
from ._pool_options import PoolOptions, input_positions
from ._windows import window_sum


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

    This is `conv` with a kernel of ones and one feature group for each channel.

    Derivative. (1) is linear in `x`, so the JVP is (1) itself. Its transpose is

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] [s·p + d·r - lo = i]                               (2)

    Every element receives the sum of the gradients of all windows that contain it. For windows side
    by side, (2) is nearest-neighbour upscaling: `upscale` computes (2), and the transpose of
    `upscale` is (1).

    Args:
      x: Feature map `(n, *spatial, c)`. Floating point narrower than float32 is summed in float32.
        Integers are summed in their own dtype, which can overflow and then wraps around.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; an int or one for each spatial axis. None means
        `window_shape`, so that windows lie side by side.
      padding: As in `conv`, but not negative. The padding is zero.
      window_dilation: Spacing d of the taps of a window.
      ceil_mode: Round the number of windows up. A last window is added if it starts on the input or
        on the low padding, even if it reaches beyond the high end. Elements beyond it are zero.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input; with
        `ceil_mode` it may be larger by less than a stride.
      TypeError: `x` is not an array of numbers, or its dtype is float8_e8m0fnu, which has no zero;
        or an option has the wrong type.

    >>> import jax.numpy as jnp
    >>> sum_pool(jnp.ones((1, 4, 4, 1)), 2)[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    x = numeric_map("sum_pool", x)
    options = PoolOptions("sum_pool", window_shape, strides, padding, window_dilation, ceil_mode)
    return window_sum(x, geometry=options.geometry_of(x))


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

    N[p] is the number of taps that are counted. By default these are the taps on the input or its
    padding. Then N[p] is the number of all taps, except in a last window that `ceil_mode` adds.
    With `count_include_pad=False` only the taps on the input are counted.

    (1) is linear in `x`. Its transpose gives each element its share of the gradient of every window
    that contains it:

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] / N[p] [s·p + d·r - lo = i]                        (2)

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is summed and
        divided in float32.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; an int or one for each spatial axis. None means
        `window_shape`, so that windows lie side by side.
      padding: As in `conv`, but not negative. The padding is zero.
      window_dilation: Spacing d of the taps of a window.
      ceil_mode: Round the number of windows up. A last window is added if it starts on the input or
        on the low padding, even if it reaches beyond the high end. Its taps beyond the padding are
        zero and are not counted.
      count_include_pad: Count the taps on the padding. False divides by the number of taps on the
        input, and gives 0 where there are none.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input; with
        `ceil_mode` it may be larger by less than a stride.
      TypeError: `x` is not an array of floating-point numbers, or its dtype is float8_e8m0fnu,
        which has no zero; or an option has the wrong type.

    Source: LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990.

    >>> import jax.numpy as jnp
    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    x = inexact_map("avg_pool", x)
    options = PoolOptions("avg_pool", window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_of(x)
    check_flag("avg_pool: count_include_pad", count_include_pad)
    # The sum of a window can overflow where its mean does not.
    wide = x.astype(algorithms.accumulator(x.dtype))
    counted = ((0, 0),) * geometry.rank
    if count_include_pad:
        counted = options.given_padding(geometry)
    counts = np.asarray(np.prod(geometry.window))
    if counted != geometry.padding:
        counts = np.maximum(_count_taps(counted, geometry), 1)[None, ..., None]
    return (window_sum(wide, geometry=geometry) / counts.astype(wide.dtype)).astype(x.dtype)


def _count_taps(sides: tuple[tuple[int, int], ...], geometry: Geometry) -> np.ndarray:
    """The number of taps of each window that lie on the input or within `sides` around it."""
    counts = np.ones((), int)
    for (below, above), axis in zip(sides, geometry.axes(), strict=True):
        positions = input_positions(axis)
        is_counted = (-below <= positions) & (positions < axis.i + above)
        counts = counts[..., None] * np.sum(is_counted, axis=1)
    return counts
