"""Max and min pooling: the choice has no derivative, and what is chosen is linear in the input."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from .. import algorithms
from .._geometry import Geometry, Padding, Size
from .._typing import AnyArray, Array
from ._windows import geometry_of, real_map, window_equals, window_max

TIES = ("first", "split", "all")


def max_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
    ties: str = "first",
) -> Array:
    """Take the largest element of each window of a feature map.

        m[n,p,c] = argmax_r x[n, s·p + d·r - lo, c]           the first one among equals       (1)
        y[n,p,c] = x[n, s·p + d·m[n,p,c] - lo, c]                                              (2)

    Derivative. Where the maximum is unique it stays at the same tap for all x nearby, so m is
    locally constant, and (2) is linear in x:

        y_dot[n,p,c] = x_dot[n, s·p + d·m[n,p,c] - lo, c]                                      (3)
        x_bar[n,i,c] = Σ_p y_bar[n,p,c] [s·p + d·m[n,p,c] - lo = i]         transpose of (3)   (4)

    The error goes to the winner of each window and to nobody else; where windows overlap, a pixel
    that wins twice receives both. All that the reverse pass needs is m: one int8 or int16 for each
    output, not the input.

    Ties. Let E[n,p,c] be the taps r that hold the maximum. If there are several, y has no
    derivative, and each single tap of E gives a subgradient of it:
    - `ties="first"` takes that of the first tap in row-major order, which is (3);
    - `ties="split"` takes the mean of all, so that a symmetric input has a symmetric gradient:

        y_dot[n,p,c] = 1/|E[n,p,c]| Σ_{r ∈ E} x_dot[n, s·p + d·r - lo, c]                      (5)

    - `ties="all"` gives each of E the whole error, as the comparison `x == y` would. The sum is |E|
      times too large for a subgradient; it is here because published networks were trained so.

    The last two remember x and y in place of m. Without ties all three agree.

    NaN counts as the largest element, so a NaN in a window is its maximum and receives its
    gradient. Padding is never chosen and receives none, not even when every element of a window is
    -inf.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is below every element.
      window_dilation: Spacing d of the elements of a window.
      ceil_mode: Round the number of windows up: a last window that starts on the input or its low
        padding counts even if it goes over the high end. What it sees there is padding.
      ties: Who receives the error among equals: `"first"`, `"split"` or `"all"`.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`, with
      output = floor((size + lo + hi - d·(window-1) - 1) / s) + 1; with `ceil_mode` the quotient is
      rounded up where that adds a window which starts before size + lo. Where a window sees
      padding alone, -inf, or the least number of a dtype without infinity.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input, with
        `ceil_mode` by a stride or more.
      TypeError: `x` is no array of real numbers, or one of float8_e8m0fnu, which has no zero; an
        option has the wrong type.

    Source: the rule "winner takes all" of max pooling as in Scherer, Müller & Behnke, "Evaluation
    of pooling operations", ICANN 2010, doi:10.1007/978-3-642-15825-4_10. (3) and (4) are
    its usual gradient (Danskin, "The Theory of Max-Min", 1967); (5) is derived here.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = real_map("max_pool", x)
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of("max_pool", x, *options)
    return _max(x, geometry, checked_ties("max_pool", ties))


def min_pool(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
    ties: str = "first",
) -> Array:
    """Take the smallest element of each window of a feature map.

        min_r x[r] = -max_r (-x[r])                                                            (1)

    The two signs cancel in the derivative: the error goes to the smallest element, by the rule of
    `max_pool`, with the same treatment of ties, NaN and padding.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape, strides, padding, window_dilation, ceil_mode, ties: As for `max_pool`.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError, TypeError: As `max_pool`.

    Source: (1) with `max_pool`.

    >>> min_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 0.,  2.],
           [ 8., 10.]], dtype=float32)
    """
    x = real_map("min_pool", x)
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of("min_pool", x, *options)
    ties = checked_ties("min_pool", ties)
    # For integers ~x = -x - 1 reverses the order without the overflow of -x.
    reverse = jnp.negative if jnp.issubdtype(x.dtype, jnp.floating) else jnp.bitwise_not
    return reverse(_max(reverse(x), geometry, ties))


def _max(x: Array, geometry: Geometry, ties: str) -> Array:
    if ties == "first":
        return window_max(x, geometry=geometry)  # (2), with the derivatives (3) and (4)
    return _max_with_ties(x, geometry, ties)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _max_with_ties(x: Array, geometry: Geometry, ties: str) -> Array:
    return window_max(x, geometry=geometry)


@_max_with_ties.defjvp
def _max_with_ties_jvp(geometry, ties, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y = _max_with_ties(x, geometry, ties)
    fixed = lax.stop_gradient((x, y))  # E is locally constant, as m is
    if ties == "all":
        return y, window_equals(x_dot, *fixed, geometry=geometry)
    # A narrow dtype might not hold |E|.
    wide = algorithms.accumulator(x.dtype)
    size = window_equals(jnp.ones(x.shape, wide), *fixed, geometry=geometry)
    y_dot = window_equals(x_dot.astype(wide), *fixed, geometry=geometry)
    return y, (y_dot / jnp.maximum(size, 1)).astype(x.dtype)  # (5)


def checked_ties(function: str, ties: str) -> str:
    """One of `TIES`."""
    if ties not in TIES:
        raise ValueError(f"{function}: ties must be one of {', '.join(TIES)}, got {ties!r}.")
    return ties
