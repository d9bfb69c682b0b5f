"""Lp pooling: the p-norm of each window, between the sum of magnitudes and the largest one."""

import math
from functools import partial
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import algorithms
from .._geometry import Geometry, Padding, Size
from .._typing import AnyArray, Array
from ._windows import geometry_of, real_map, window_sum


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

    Derivative. |x|^p has the derivative p·sign(x)·|x|^(p-1), and u^(1/p) has u^(1/p-1) / p, which
    is y^(1-p) / p for u = y^p, so

        y_dot[n,q,c] = y[n,q,c]^(1-p) Σ_r sign(x)·|x|^(p-1)·x_dot    at [n, s·q + d·r - lo, c] (2)

    a sum pool, and its transpose is that of a sum pool. In a window of zeros (2) reads 0·∞; there y
    has a corner, as |x| has, 0 is one of its subgradients, and 0 it is here. Autodiff of (1)
    gives NaN.

    At an x of 0 in another window, (2) is differentiable for p ≥ 2 and for p = 1 has the
    subgradient sign(0) = 0. For 1 < p < 2 its own derivative there is infinite, and comes out so.

    Args:
      x: Feature map `(n, *spatial, c)`, real floating point. A dtype narrower than float32 is
        added up in float32.
      p: The exponent, at least 1 and finite. 1 adds up magnitudes, 2 is the Euclidean norm; the
        limit for large p is `max_pool(abs(x))`.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; None means `window_shape`, windows side by side.
      padding: As for `conv`, non-negative; the padding is zero.
      window_dilation: Spacing d of the elements of a window.
      ceil_mode: Round the number of windows up: a last window that starts on the input or its low
        padding counts even if it goes over the high end. What it sees there is zero.

    Returns:
      Feature map `(n, *output, c)`, in the dtype of `x`. Powers |x|^p must be representable in the
      dtype that is added up in.

    Raises:
      ValueError: `p` is below 1 or not finite, an option is out of range, or a window is larger
        than the padded input, with `ceil_mode` by a stride or more.
      TypeError: `x` is no array of real floating-point numbers, or one of float8_e8m0fnu; an option
        has the wrong type.

    Source: Sermanet, Chintala & LeCun, "Convolutional neural networks applied to house numbers
    digit classification", ICPR 2012, arXiv:1204.3968, section 2.2. (2) is the chain rule.

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
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of("lp_pool", x, *options)
    wide = x.astype(algorithms.accumulator(x.dtype))
    is_seen = _pixels_seen(geometry)
    if not is_seen.all():  # in (2) the slope of a pixel in no window would meet its error of 0
        wide = jnp.where(is_seen[None, ..., None], wide, 1)
    return _norm(wide, float(p), geometry).astype(x.dtype)


def _pixels_seen(geometry: Geometry) -> np.ndarray:
    """Which pixels of the input are in a window."""
    is_seen = np.ones((), bool)
    for i, r, p, s, lo, _, d in geometry.axes():
        of_windows = s * np.arange(p)[:, None] + d * np.arange(r) - lo
        is_seen = is_seen[..., None] & np.isin(np.arange(i), of_windows)
    return is_seen


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(x: Array, p: float, geometry: Geometry) -> Array:
    total = window_sum(_power(x, p), geometry=geometry)
    return _to_the(total, 1 / p)  # (1)


@_norm.defjvp
def _norm_jvp(p, geometry, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y = _norm(x, p, geometry)
    # y = 0 is replaced before the power, not after: the derivative of (2) itself must stay finite.
    is_zero = y == 0
    scale = jnp.where(is_zero, 0, _to_the(jnp.where(is_zero, 1, y), 1 - p))
    return y, scale * window_sum(_signed_power(x, p - 1) * x_dot, geometry=geometry)  # (2)


# |x|^a and sign(x)·|x|^a, each with the other in its derivative, so that none of any order meets
# the corner of |x| at 0:  (|x|^a)' = a·sign(x)·|x|^(a-1)  and  (sign(x)·|x|^a)' = a·|x|^(a-1).


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
    """x^a for x ≥ 0, by products or a square root where that is enough."""
    if a == 0.5:
        return jnp.sqrt(x)
    return lax.integer_pow(x, int(a)) if a.is_integer() else jnp.power(x, a)
