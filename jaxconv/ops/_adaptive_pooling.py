"""Pools that state the size of their result: one number for each channel, or any size."""

from functools import lru_cache

from .._geometry import Size, per_axis
from .._typing import AnyArray, Array
from ..algorithms import Mixing
from ._max_pooling import checked_ties, max_pool
from ._sum_pooling import avg_pool
from ._windows import inexact_map, real_map, resample, spatial_rank


def global_avg_pool(x: AnyArray) -> Array:
    """Take the mean of each channel of a feature map over all pixels.

        y[n,c] = 1/I Σ_i x[n,i,c]       x_bar[n,i,c] = y_bar[n,c] / I           (I pixels)     (1)

    `avg_pool` with one window that spans the map; linear, and each pixel receives an equal share.

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is
        added up in float32.

    Returns:
      `(n, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, or has no pixels.
      TypeError: `x` is no array of floating-point numbers, or one of float8_e8m0fnu.

    Source: Lin, Chen & Yan, "Network in network", ICLR 2014, arXiv:1312.4400. (1) is derived in
    `avg_pool`.

    >>> import jax.numpy as jnp
    >>> global_avg_pool(jnp.arange(6.0).reshape(1, 3, 2))
    Array([[2., 3.]], dtype=float32)
    """
    x = inexact_map("global_avg_pool", x)
    return avg_pool(x, _all_pixels("global_avg_pool", x)).reshape(x.shape[0], x.shape[-1])


def global_max_pool(x: AnyArray, *, ties: str = "first") -> Array:
    """Take the largest element of each channel of a feature map.

        y[n,c] = max_i x[n,i,c]                                                                (1)

    `max_pool` with one window that spans the map; the error goes to the pixel that won.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      ties: Who receives the error among equals, as for `max_pool`.

    Returns:
      `(n, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, or has no pixels; `ties` is unknown.
      TypeError: `x` is no array of real numbers, or one of float8_e8m0fnu.

    Source: `max_pool`, where its derivative is derived.

    >>> import jax.numpy as jnp
    >>> global_max_pool(jnp.arange(6.0).reshape(1, 3, 2))
    Array([[4., 5.]], dtype=float32)
    """
    x = real_map("global_max_pool", x)
    ties = checked_ties("global_max_pool", ties)
    y = max_pool(x, _all_pixels("global_max_pool", x), ties=ties)
    return y.reshape(x.shape[0], x.shape[-1])


def adaptive_avg_pool(x: AnyArray, output_size: Size) -> Array:
    """Take means over windows that divide a feature map into `output_size` parts.

    On an axis of n pixels and q parts, part p is made of the pixels from floor(p·n/q) to before
    ceil((p+1)·n/q). Parts are equal if q divides n, else some share a pixel with their neighbours.

        y[p] = 1/|W(p)| Σ_{i ∈ W(p)} x[i],   W(p) = {i: p·n/q - 1 < i < (p+1)·n/q}             (1)

    one axis after the other. Linear, with the transpose

        x_bar[i] = Σ_p y_bar[p] / |W(p)| [i ∈ W(p)]                                            (2)

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is
        added up in float32.
      output_size: Spatial shape q of the result; an int or one for each spatial axis. It may exceed
        that of `x`: then pixels are repeated.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, or has no pixels; a size is below 1.
      TypeError: `x` is no array of floating-point numbers, or one of float8_e8m0fnu;
        `output_size` has the wrong type.

    Source: the windows are those of PyTorch's `adaptive_avg_pool2d`; (2) is the transpose.

    >>> import jax.numpy as jnp
    >>> adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), 3)[0, :, 0]
    Array([0.5, 2. , 3.5], dtype=float32)
    """
    x = inexact_map("adaptive_avg_pool", x)
    window, sizes = _parts("adaptive_avg_pool", x, output_size)
    if window:
        return avg_pool(x, window)
    axes = zip(x.shape[1:-1], sizes, strict=True)
    return resample(x, mixings=tuple(_mean_of_parts(n, q) for n, q in axes))


def adaptive_max_pool(x: AnyArray, output_size: Size) -> Array:
    """Take the largest elements of windows that divide a feature map into `output_size` parts.

    The parts W(p) are those of `adaptive_avg_pool`. All are brought to the length K of the longest,
    by repeating their last pixel, and laid side by side:

        z[K·p + k] = x[min(first of W(p) + k, last of W(p))]         linear in x               (1)
        y = max_pool(z, K)                                                                     (2)

    A repeated pixel is never the first of equals, so the error goes to one pixel of each part, the
    first in row-major order that holds the maximum.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      output_size: Spatial shape of the result; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, or has no pixels; a size is below 1.
      TypeError: `x` is no array of real numbers, or one of float8_e8m0fnu; `output_size` has
        the wrong type.

    Source: the windows are those of PyTorch's `adaptive_max_pool2d`; (1) is derived here.

    >>> import jax.numpy as jnp
    >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), 3)[0, :, 0]
    Array([1., 3., 4.], dtype=float32)
    """
    x = real_map("adaptive_max_pool", x)
    window, sizes = _parts("adaptive_max_pool", x, output_size)
    if window:
        return max_pool(x, window)
    mixings = tuple(_parts_side_by_side(n, q) for n, q in zip(x.shape[1:-1], sizes, strict=True))
    longest = tuple(len(m.rows) // q for m, q in zip(mixings, sizes, strict=True))
    return max_pool(resample(x, mixings=mixings), longest)


def _all_pixels(function: str, x: Array) -> tuple[int, ...]:
    spatial_rank(function, x)
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{function}: x must have pixels, got shape {x.shape}.")
    return x.shape[1:-1]


def _parts(function: str, x: Array, output_size: Size):
    """The window of each part if all are equal, else None; and the sizes of the result."""
    spatial = _all_pixels(function, x)
    sizes = per_axis(output_size, len(spatial), f"{function}: output_size")
    axes = list(zip(spatial, sizes, strict=True))
    equal = not any(n % q for n, q in axes)
    return tuple(n // q for n, q in axes) if equal else None, sizes


def _pixels(n: int, q: int) -> list[range]:
    """W(p) for each p."""
    return [range(p * n // q, -(-(p + 1) * n // q)) for p in range(q)]


@lru_cache
def _mean_of_parts(n: int, q: int) -> Mixing:
    return Mixing(n, tuple(tuple((i, 1 / len(part)) for i in part) for part in _pixels(n, q)))


@lru_cache
def _parts_side_by_side(n: int, q: int) -> Mixing:
    parts = _pixels(n, q)
    longest = max(map(len, parts))
    rows = (min(part[0] + k, part[-1]) for part in parts for k in range(longest))
    return Mixing(n, tuple(((i, 1.0),) for i in rows))
