"""Max and min pooling.

A max pool chooses a tap of each window and copies the element under it. The choice is an integer
and has no derivative, so JAX must not differentiate the search for the maximum. `window_max`, made
by `jaxconv.forms.chosen`, therefore has a JVP that applies a linear map, `window_gather`, to the
tangent at the taps that were chosen. For fixed taps that map and its transpose, `window_scatter`,
are linear, so derivatives of every order follow from them without a second search.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from .. import algorithms
from .._arguments import Padding, Size
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ._checks import is_one_of, real_map
from ._pool_options import PoolOptions
from ._windows import window_equals, window_max, window_share

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

    Derivative. Where the maximum is unique, it stays at the same tap for all x nearby. So m is
    locally constant, and for a fixed m (2) is linear in x:

        y_dot[n,p,c] = x_dot[n, s·p + d·m[n,p,c] - lo, c]                                      (3)
        x_bar[n,i,c] = Σ_p y_bar[n,p,c] [s·p + d·m[n,p,c] - lo = i]         transpose of (3)   (4)

    The gradient of each window goes to the element that holds its maximum, and to no other. Where
    windows overlap, an element can hold the maximum of several windows and receives the sum of
    their gradients. The reverse pass needs only m, which is one int8, int16 or int32 for each
    output. It does not need the input.

    Ties. Let E[n,p,c] be the set of taps r that hold the maximum. If E has several taps, y has no
    derivative, and each tap of E gives a subgradient of y:
    - `ties="first"` takes the subgradient of the first tap in row-major order, which is (3).
    - `ties="split"` takes the mean over E, so that a symmetric input has a symmetric gradient:

        y_dot[n,p,c] = 1/|E[n,p,c]| Σ_{r ∈ E} x_dot[n, s·p + d·r - lo, c]                      (5)

    - `ties="all"` gives the whole gradient to each tap of E, as the comparison `x == y` would. The
      sum is |E| times too large for a subgradient. The option exists because published networks
      were trained with this rule.

    For "split" and "all" the reverse pass keeps x and y instead of m. Without ties all three agree.

    NaN counts as the largest element, so a NaN is the maximum of its windows and receives their
    gradients. Padding is never chosen and receives no gradient, even where every element of a
    window is -inf.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; an int or one for each spatial axis. None means
        `window_shape`, so that windows lie side by side.
      padding: As in `conv`, but not negative. The padding is smaller than every element.
      window_dilation: Spacing d of the taps of a window.
      ceil_mode: Round the number of windows up. A last window is added if it starts on the input or
        on the low padding, even if it reaches beyond the high end. Elements beyond it are padding.
      ties: Which of several equal elements receive the gradient: `"first"`, `"split"` or `"all"`.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`, with
      output = floor((size + lo + hi - d·(window-1) - 1) / s) + 1. With `ceil_mode` the quotient is
      rounded up if the window that this adds starts before size + lo. Where a window holds only
      padding, the result is -inf, or the smallest value of a dtype without infinity.

    Raises:
      ValueError: An option is out of range, or a window is larger than the padded input; with
        `ceil_mode` it may be larger by less than a stride.
      TypeError: `x` is not an array of real numbers, or its dtype is float8_e8m0fnu, which has no
        zero; or an option has the wrong type.

    Source: Scherer, Müller & Behnke, "Evaluation of pooling operations", ICANN 2010,
    doi:10.1007/978-3-642-15825-4_10. (3) and (4) are the usual gradient of a maximum (Danskin,
    "The Theory of Max-Min", 1967). (5) is derived here.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x = real_map("max_pool", x)
    options = PoolOptions("max_pool", window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_of(x)
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

    The two signs cancel in the derivative. The gradient goes to the smallest element by the rules
    of `max_pool` for ties, NaN and padding.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape: As in `max_pool`.
      strides: As in `max_pool`.
      padding: As in `conv`, but not negative. The padding is larger than every element.
      window_dilation: As in `max_pool`.
      ceil_mode: As in `max_pool`.
      ties: As in `max_pool`.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`.

    Raises:
      ValueError: As in `max_pool`.
      TypeError: As in `max_pool`.

    >>> min_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 0.,  2.],
           [ 8., 10.]], dtype=float32)
    """
    x = real_map("min_pool", x)
    options = PoolOptions("min_pool", window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_of(x)
    ties = checked_ties("min_pool", ties)
    # The smallest integer has no negative. ~x = -x - 1 reverses the order without overflow.
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
    fixed = lax.stop_gradient((x, y))  # x and y only determine E, which is locally constant
    if ties == "all":
        return y, window_equals(x_dot, *fixed, geometry=geometry)
    wide = x_dot.astype(algorithms.accumulator(x.dtype))  # |E| may be too large for a narrow dtype
    y_dot = window_share(window_equals(wide, *fixed, geometry=geometry), *fixed, geometry=geometry)
    return y, y_dot.astype(x.dtype)  # (5)


def checked_ties(function: str, ties: str) -> str:
    """The argument `ties` of the public `function`, if it is one of `TIES`."""
    if not is_one_of(ties, TIES):
        raise ValueError(f"{function}: ties must be one of {', '.join(TIES)}, got {ties!r}.")
    return ties
