"""Lp pooling: the p-norm of each window, from the sum of magnitudes towards the largest one."""

import math
from functools import partial
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import algorithms
from .._arguments import Padding, Size
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ._checks import real_map
from ._pool_options import PoolOptions, input_positions
from ._windows import window_sum


def lp_pool(
    x: AnyArray,
    p: int | float,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """Take the p-norm of each window of a feature map.

        y[n,q,c] = (Σ_r |x[n, s·q + d·r - lo, c]|^p)^(1/p)                                     (1)

    Derivative. |x|^p has the derivative p·sign(x)·|x|^(p-1). With u = y^p, u^(1/p) has the
    derivative u^(1/p-1) / p = y^(1-p) / p. The chain rule gives

        y_dot[n,q,c] = y[n,q,c]^(1-p) Σ_r sign(x)·|x|^(p-1)·x_dot    at [n, s·q + d·r - lo, c] (2)

    The sum in (2) is a sum pool, and its transpose is that of a sum pool.

    In a window of zeros (2) is 0·∞. There y has a corner, as |x| has, and 0 is one of its
    subgradients. This function takes 0; autodiff of (1) gives NaN.

    An element of 0 in a window with other elements has a derivative: for p > 1 it is 0, and for
    p = 1 the subgradient sign(0) = 0. The second derivative exists there for p ≥ 2. For 1 < p < 2
    it is infinite, and the result is infinite, too.

    Args:
      x: Feature map `(n, *spatial, c)`, real floating point. A dtype narrower than float32 is
        summed in float32.
      p: The exponent, at least 1 and finite. 1 adds up magnitudes and 2 is the Euclidean norm. The
        limit for large p is `max_pool(abs(x))`.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; an int or one for each spatial axis. None means
        `window_shape`, so that windows lie side by side.
      padding: As in `conv`, but not negative. The padding is zero.
      window_dilation: Spacing d of the taps of a window.
      ceil_mode: Round the number of windows up. A last window is added if it starts on the input or
        on the low padding, even if it reaches beyond the high end. Elements beyond it are zero.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`. The powers |x|^p are computed in the dtype
      of the sums and must not overflow there. Powers that underflow count as 0.

    Raises:
      ValueError: `p` is below 1 or not finite, an option is out of range, or a window is larger
        than the padded input; with `ceil_mode` it may be larger by less than a stride.
      TypeError: `x` is not an array of real floating-point numbers, or its dtype is float8_e8m0fnu;
        or an option has the wrong type.

    Source: Sermanet, Chintala & LeCun, "Convolutional neural networks applied to house numbers
    digit classification", ICPR 2012, arXiv:1204.3968, section 2.2. (2) is derived here.

    >>> lp_pool(jnp.array([3.0, -4.0, 0.0, 0.0]).reshape(1, 4, 1), 2, 2)[0, :, 0]
    Array([5., 0.], dtype=float32)
    """
    x = real_map("lp_pool", x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"lp_pool: x must be floating point, got dtype {x.dtype}.")
    if not isinstance(p, Real) or isinstance(p, bool):
        raise TypeError(f"lp_pool: p must be a number, got {p!r}.")
    if not 1 <= p < math.inf:
        raise ValueError(f"lp_pool: p must be at least 1 and finite, got {p!r}.")
    options = PoolOptions("lp_pool", window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_of(x)
    wide = x.astype(algorithms.accumulator(x.dtype))
    is_in_window = _elements_in_windows(geometry)
    if not is_in_window.all():
        # The gradient of an element in no window is 0. The transpose of (2) multiplies this 0 by
        # sign(x)·|x|^(p-1), which may be infinite or NaN, so the element is replaced by 1.
        wide = jnp.where(is_in_window[None, ..., None], wide, 1)
    return _norm(wide, float(p), geometry).astype(x.dtype)


def _elements_in_windows(geometry: Geometry) -> np.ndarray:
    """Whether each position of the input is in a window."""
    is_in_window = np.ones((), bool)
    for axis in geometry.axes():
        on_axis = np.isin(np.arange(axis.i), input_positions(axis))
        is_in_window = is_in_window[..., None] & on_axis
    return is_in_window


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(x: Array, p: float, geometry: Geometry) -> Array:
    total = window_sum(_power(x, p), geometry=geometry)
    return _to_the(total, 1 / p)  # (1)


@_norm.defjvp
def _norm_jvp(p, geometry, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y = _norm(x, p, geometry)
    # y = 0 is replaced before the power is taken. If it were replaced after, the derivative of this
    # rule would be NaN.
    is_zero = y == 0
    scale = jnp.where(is_zero, 0, _to_the(jnp.where(is_zero, 1, y), 1 - p))
    return y, scale * window_sum(_signed_power(x, p - 1) * x_dot, geometry=geometry)  # (2)


# The derivatives of |x|^a and sign(x)·|x|^a contain each other:
#     (|x|^a)' = a·sign(x)·|x|^(a-1)   and   (sign(x)·|x|^a)' = a·|x|^(a-1).
# With these two rules no derivative of any order differentiates |x| at 0.


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _power(x: Array, a: float) -> Array:
    return _to_the(jnp.abs(x), a)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _signed_power(x: Array, a: float) -> Array:
    return jnp.sign(x) * _to_the(jnp.abs(x), a)


@_power.defjvp
def _power_jvp(a, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    slope = a * _signed_power(x, a - 1) if a else jnp.zeros_like(x)
    return _power(x, a), slope * x_dot


@_signed_power.defjvp
def _signed_power_jvp(a, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    slope = a * _power(x, a - 1) if a else jnp.zeros_like(x)
    return _signed_power(x, a), slope * x_dot


def _to_the(x: Array, a: float) -> Array:
    """x^a for x ≥ 0. Whole exponents need only products, and a = 1/2 only a square root."""
    if a == 0.5:
        return jnp.sqrt(x)
    return lax.integer_pow(x, int(a)) if a.is_integer() else jnp.power(x, a)
