"""Pooling: sums and maxima over windows, each with its transpose.

Two pairs of linear maps carry all of it:

    window_sum     <->  window_spread        y[p] = Σ_r x[s·p + d·r - lo]
    window_gather  <->  window_scatter      y[p] = x[s·p + d·m[p] - lo] for a fixed choice m of taps

A max pool is a choice that has no derivative, followed by a gather that is linear.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import lowering
from .._geometry import Geometry, Padding, Size, convolution_geometry, per_axis
from .._linear import linear_pair
from .._typing import AnyArray, Array
from ._call import as_array


def max_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Array:
    """Take the largest element of each window of a feature map.

        m[n,p,c] = argmax_r x[n, s·p + d·r - lo, c]           the first one among equals       (1)
        y[n,p,c] = x[n, s·p + d·m[n,p,c] - lo, c]                                              (2)

    Derivative. Where the maximum is unique it stays at the same tap for all x nearby, so m is
    locally constant, and (2) is linear in x:

        y_dot[n,p,c] = x_dot[n, s·p + d·m[n,p,c] - lo, c]                                      (3)
        x_bar[n,i,c] = Σ_p y_bar[n,p,c] [s·p + d·m[n,p,c] - lo = i]         transpose of (3)   (4)

    The error goes to the winner of each window and to nobody else; where windows overlap, a pixel
    that wins twice receives both. At a tie (1) picks one of the subgradients. All that the reverse
    pass needs is m: one int8 or int16 for each output, not the input.

    NaN counts as the largest element, so a NaN in a window is its maximum and receives its
    gradient. Padding is never chosen and receives none, not even when every element of a window is
    -inf.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is below every element.
      window_dilation: Spacing d of the elements of a window.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`, with
      output = floor((size + lo + hi - d·(window-1) - 1) / s) + 1.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input.
      TypeError: `x` is no array of real numbers, or an option has the wrong type.

    Source: the rule "winner takes all" of max pooling as in Scherer, Müller & Behnke, "Evaluation
    of pooling operations", ICANN 2010, doi:10.1007/978-3-642-15825-4_10. (3) and (4) are derived
    here.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = _real("max_pool", x)
    return _max(x, _windows("max_pool", x, window_shape, strides, padding, window_dilation))


def min_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Array:
    """Take the smallest element of each window of a feature map.

        min_r x[r] = -max_r (-x[r])                                                            (1)

    The two signs cancel in the derivative: the error goes to the smallest element, by the rule of
    `max_pool`, with the same treatment of ties, NaN and padding.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape, strides, padding, window_dilation: As for `max_pool`.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError, TypeError: As `max_pool`.

    Source: (1) with `max_pool`.

    >>> min_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 0.,  2.],
           [ 8., 10.]], dtype=float32)
    """
    x = _real("min_pool", x)
    geometry = _windows("min_pool", x, window_shape, strides, padding, window_dilation)
    # For integers ~x = -x - 1 reverses the order without the overflow of -x.
    reverse = jnp.negative if jnp.issubdtype(x.dtype, jnp.floating) else jnp.bitwise_not
    return reverse(_max(reverse(x), geometry))


def sum_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Array:
    """Add up each window of a feature map.

        y[n,p,c] = Σ_r x[n, s·p + d·r - lo, c]                                                 (1)

    Linear in `x`, so the JVP is (1) itself. Its transpose is

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] [s·p + d·r - lo = i]                               (2)

    every pixel receives the errors of all windows that contain it. For windows side by side, that
    is nearest-neighbour upscaling: (2) is `upscale`, and `upscale`'s transpose is (1).

    Args:
      x: Feature map `(n, *spatial, c)`. Half precision is added up in float32.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is zero.
      window_dilation: Spacing d of the elements of a window.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input.
      TypeError: `x` is no array of numbers, or an option has the wrong type.

    Source: derived here; the special case of `conv` with a kernel of ones and one group a channel.

    >>> sum_pool(jnp.ones((1, 4, 4, 1)), 2)[0, :, :, 0]
    Array([[4., 4.],
           [4., 4.]], dtype=float32)
    """
    x = as_array("sum_pool: x", x)
    geometry = _windows("sum_pool", x, window_shape, strides, padding, window_dilation)
    return window_sum(x, geometry=geometry)


def avg_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    count_include_pad: bool = True,
) -> Array:
    """Take the mean of each window of a feature map.

        y[n,p,c] = 1/N[p] Σ_r x[n, s·p + d·r - lo, c]                                          (1)

    with N[p] the number of taps R, or, without the padding, that of the taps inside the input.
    Linear in `x`; its transpose hands each pixel its share of the error:

        x_bar[n,i,c] = Σ_{p,r} y_bar[n,p,c] / N[p] [s·p + d·r - lo = i]                        (2)

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. Half precision is added up in float32.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is zero.
      window_dilation: Spacing d of the elements of a window.
      count_include_pad: Divide by R everywhere; False divides by the taps that lie on the input,
        and gives 0 where there are none.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input.
      TypeError: `x` is no array of floating-point numbers, or an option has the wrong type.

    Source: derived here from `sum_pool`.

    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    x = as_array("avg_pool: x", x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"avg_pool: x must be floating point, got dtype {x.dtype}.")
    geometry = _windows("avg_pool", x, window_shape, strides, padding, window_dilation)
    counts = np.asarray(np.prod(geometry.window), x.dtype)
    if not count_include_pad:
        counts = np.maximum(_taps_on_input(geometry), 1).astype(x.dtype)[..., None]
    return window_sum(x, geometry=geometry) / counts


def upscale(x: AnyArray, factor: Size, method: str = "nearest") -> Array:
    """Repeat each pixel of a feature map over a block of `factor` pixels.

        y[n,p,c] = x[n, p // f, c],    p < f·size                                              (1)

    VJP, with [P] equal to 1 where P holds, else 0:

        x_bar[n,i,c] = Σ_p y_bar[n,p,c] ∂y[n,p,c]/∂x[n,i,c]                    chain rule
                     = Σ_p y_bar[n,p,c] [p // f = i]                           by (1)
                     = Σ_a y_bar[n, i·f + a, c],  a < f                                        (2)

    Each pixel receives the sum, not the mean, over its block: (2) is `sum_pool`, whose transpose is
    (1) again. Linear in `x`: the JVP is (1) itself, and nothing is remembered for the reverse pass.

    Args:
      x: Feature map `(n, *spatial, c)`.
      factor: Block size f, at least 1; an int or one for each spatial axis.
      method: `"nearest"`.

    Returns:
      Feature map `(n, *(f · size), c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, or the method is unknown.
      TypeError: `x` is no array of numbers, or `factor` is not an integer.

    Source: the resize of resize-convolution in Odena, Dumoulin & Olah, "Deconvolution and
    Checkerboard Artifacts", Distill 2016, doi:10.23915/distill.00003. (2) is derived here.

    >>> upscale(jnp.ones((1, 2, 3, 4)), factor=(2, 3)).shape
    (1, 4, 9, 4)
    """
    x = as_array("upscale: x", x)
    if method != "nearest":
        raise ValueError(f"upscale: method must be 'nearest', got {method!r}.")
    rank = _spatial_rank("upscale", x)
    blocks = per_axis(factor, rank, "upscale: factor")
    enlarged = tuple(f * size for f, size in zip(blocks, x.shape[1:-1], strict=True))
    once = (1,) * rank
    none = ((0, 0),) * rank
    geometry = Geometry(enlarged, blocks, x.shape[1:-1], blocks, none, once, once)
    return window_spread(x, geometry=geometry)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max(x: Array, geometry: Geometry) -> Array:
    return lowering.max_of_windows(x, geometry=geometry)


@_max.defjvp
def _max_jvp(geometry, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y, index = lowering.max_and_argmax(x, geometry=geometry)  # max_pool (1) and (2)
    return y, window_gather(x_dot, index, geometry=geometry)  # max_pool (3)


def _result(slot: str, operand, *_, geometry: Geometry) -> jax.ShapeDtypeStruct:
    n, *_, c = operand.shape
    size = geometry.output_size if slot == "out" else geometry.input_size
    return jax.ShapeDtypeStruct((n, *size, c), operand.dtype)


window_sum, window_spread = linear_pair(
    "jaxconv_window_sum", lowering.sum_windows, lowering.spread_windows, result=_result
)
window_gather, window_scatter = linear_pair(
    "jaxconv_window_gather", lowering.gather_windows, lowering.scatter_windows, result=_result
)


def pool_geometry(
    function: str,
    size: tuple[int, ...],
    window_shape: Size,
    strides: Size | None,
    padding: Padding,
    dilation: Size = 1,
) -> Geometry:
    """Check the options of a pool; the geometry is that of a convolution with the same windows."""
    window = per_axis(window_shape, len(size), f"{function}: window_shape")
    strides = window if strides is None else strides
    dilation = per_axis(dilation, len(size), f"{function}: window_dilation")
    geometry = convolution_geometry(function, size, window, strides, padding, 1, dilation, 1)
    if any(side < 0 for pads in geometry.padding for side in pads):
        raise ValueError(f"{function}: padding must not be negative, got {padding!r}.")
    return geometry


def _windows(function: str, x: Array, *options) -> Geometry:
    _spatial_rank(function, x)
    return pool_geometry(function, x.shape[1:-1], *options)


def _spatial_rank(function: str, x: Array) -> int:
    if x.ndim < 3:
        raise ValueError(f"{function}: x must be (n, *spatial, c), got shape {x.shape}.")
    return x.ndim - 2


def _real(function: str, x: Any) -> Array:
    x = as_array(f"{function}: x", x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{function}: x must be real, complex numbers have no order.")
    return x


def _taps_on_input(geometry: Geometry) -> np.ndarray:
    """How many taps of the window at each output position lie on the input, not on padding."""
    counts = np.ones((), int)
    for i, r, p, s, lo, _, d in geometry.axes():
        seen = s * np.arange(p)[:, None] + d * np.arange(r) - lo
        counts = counts[..., None] * np.sum((0 <= seen) & (seen < i), axis=1)
    return counts
