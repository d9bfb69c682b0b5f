"""Pools whose result has a given size: one element for each channel, or any spatial shape."""

from functools import lru_cache

from .._arguments import Size, per_axis
from .._typing import AnyArray, Array
from ..algorithms import Mixing
from ._checks import check_mixed_sizes, inexact_map, real_map, spatial_rank
from ._max_pooling import checked_ties, max_pool
from ._sum_pooling import avg_pool
from ._windows import resample


def global_avg_pool(x: AnyArray) -> Array:
    """Take the mean of each channel of a feature map over all positions.

        y[n,c] = 1/I Σ_i x[n,i,c]       x_bar[n,i,c] = y_bar[n,c] / I        (I positions)     (1)

    This is `avg_pool` with one window that spans the map. It is linear, and each element receives
    the same share of the gradient.

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is summed in
        float32.

    Returns:
      `(n, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, or a spatial axis is empty.
      TypeError: `x` is not an array of floating-point numbers, or its dtype is float8_e8m0fnu.

    Source: Lin, Chen & Yan, "Network in network", ICLR 2014, arXiv:1312.4400.

    >>> import jax.numpy as jnp
    >>> global_avg_pool(jnp.arange(6.0).reshape(1, 3, 2))
    Array([[2., 3.]], dtype=float32)
    """
    x = inexact_map("global_avg_pool", x)
    window = _checked_spatial("global_avg_pool", x)
    return avg_pool(x, window).reshape(x.shape[0], x.shape[-1])


def global_max_pool(x: AnyArray, *, ties: str = "first") -> Array:
    """Take the largest element of each channel of a feature map.

        y[n,c] = max_i x[n,i,c]                                                                (1)

    This is `max_pool` with one window that spans the map. The gradient goes to the element that
    holds the maximum, as derived in `max_pool`.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      ties: Which of several equal elements receive the gradient, as in `max_pool`.

    Returns:
      `(n, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a spatial axis is empty, or `ties` is unknown.
      TypeError: `x` is not an array of real numbers, or its dtype is float8_e8m0fnu.

    >>> import jax.numpy as jnp
    >>> global_max_pool(jnp.arange(6.0).reshape(1, 3, 2))
    Array([[4., 5.]], dtype=float32)
    """
    x = real_map("global_max_pool", x)
    ties = checked_ties("global_max_pool", ties)
    y = max_pool(x, _checked_spatial("global_max_pool", x), ties=ties)
    return y.reshape(x.shape[0], x.shape[-1])


def adaptive_avg_pool(x: AnyArray, output_size: Size) -> Array:
    """Take means over windows that divide a feature map into `output_size` parts.

    On an axis of n positions and q parts, part p starts at position floor(p·n/q) and ends before
    ceil((p+1)·n/q). If q divides n, all parts have the same length. Otherwise some neighbouring
    parts share a position.

        y[p] = 1/|W(p)| Σ_{i ∈ W(p)} x[i],   W(p) = {i: p·n/q - 1 < i < (p+1)·n/q}             (1)

    (1) is applied to one axis after the other. It is linear, with the transpose

        x_bar[i] = Σ_p y_bar[p] / |W(p)| [i ∈ W(p)]                                            (2)

    Args:
      x: Feature map `(n, *spatial, c)`, floating point. A dtype narrower than float32 is summed in
        float32.
      output_size: Spatial shape q of the result; an int or one for each spatial axis. It may be
        larger than that of `x`. Elements are then repeated.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a spatial axis is empty, or a size is below 1
        or above 16,777,216.
      TypeError: `x` is not an array of floating-point numbers, or its dtype is float8_e8m0fnu;
        or `output_size` has the wrong type.

    Source: the windows are those of PyTorch's `adaptive_avg_pool2d`; (2) is derived here.

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

    The parts W(p) are those of `adaptive_avg_pool`. Each part is brought to the length K of the
    longest one by repeating its last element. The parts are then laid side by side:

        z[K·p + k] = x[min(first of W(p) + k, last of W(p))]         linear in x               (1)
        y = max_pool(z, K)                                                                     (2)

    The gradient goes to the first element of each part, in row-major order, that holds the maximum.
    Repetitions do not change this, because a repetition comes after the element that it repeats.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      output_size: Spatial shape of the result; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a spatial axis is empty, or a size is below 1
        or above 16,777,216.
      TypeError: `x` is not an array of real numbers, or its dtype is float8_e8m0fnu; or
        `output_size` has the wrong type.

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


def _checked_spatial(function: str, x: Array) -> tuple[int, ...]:
    """The spatial shape of a feature map. No axis of it is empty."""
    spatial_rank(function, x)
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{function}: x must have pixels, got shape {x.shape}.")
    return x.shape[1:-1]


def _parts(
    function: str, x: Array, output_size: Size
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """The window of each part, or None if the parts differ; and the spatial shape of the result."""
    spatial = _checked_spatial(function, x)
    sizes = per_axis(output_size, len(spatial), f"{function}: output_size")
    axes = list(zip(spatial, sizes, strict=True))
    equal = not any(n % q for n, q in axes)
    if not equal:
        check_mixed_sizes(f"{function}: output_size", sizes)
    return tuple(n // q for n, q in axes) if equal else None, sizes


def _positions_of_parts(n: int, q: int) -> list[range]:
    """W(p) for each p."""
    return [range(p * n // q, -(-(p + 1) * n // q)) for p in range(q)]


@lru_cache
def _mean_of_parts(n: int, q: int) -> Mixing:
    parts = _positions_of_parts(n, q)
    return Mixing(n, tuple(tuple((i, 1 / len(part)) for i in part) for part in parts))


@lru_cache
def _parts_side_by_side(n: int, q: int) -> Mixing:
    parts = _positions_of_parts(n, q)
    longest = max(map(len, parts))
    rows = (min(part[0] + k, part[-1]) for part in parts for k in range(longest))
    return Mixing(n, tuple(((i, 1.0),) for i in rows))
