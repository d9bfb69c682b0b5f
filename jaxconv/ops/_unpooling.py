"""Where the maxima were, and how to put something back there."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import checkify

from .. import algorithms
from .._geometry import Geometry, Padding, Size, extent, per_axis, transposed_input_size
from .._typing import AnyArray, Array
from ._checks import as_array
from ._windows import (
    geometry_of,
    numeric_map,
    pool_geometry,
    real_map,
    spatial_rank,
    window_gather,
    window_max_and_tap,
    window_scatter,
)

OVERLAPS = ("sum", "mean")


def max_pool_with_argmax(
    x: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Take the largest element of each window of a feature map, and say where it was.

    The second result counts the pixels of the input, without padding, in row-major order over the
    spatial axes; examples and channels do not count. With m of `max_pool` (1), and sizes w of the
    spatial axes,

        i_a[n,p,c] = s_a·p_a + d_a·m_a[n,p,c] - lo_a                            on each axis a (1)
        argmax[n,p,c] = (i_1·w_2 + i_2)·w_3 + …                                                (2)

    and -1 where a window sees padding alone. This is the index of PyTorch's `return_indices`.

    The maxima are differentiable, by `max_pool` (3) and (4); the argmax is an integer and is not.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape, strides, padding, window_dilation, ceil_mode: As for `max_pool`. Among equals
        the first wins, for the value, the index and the gradient.

    Returns:
      `(y, argmax)`, both `(n, *output, c)`: y in the dtype of `x`, argmax in int32.

    Raises:
      ValueError, TypeError: As `max_pool`; or there are too many pixels to number them in int32.

    Source: `max_pool`; the argmax is that of PyTorch's `max_pool2d(return_indices=True)`.

    >>> y, argmax = max_pool_with_argmax(jnp.array([1.0, 3, 2, 2]).reshape(1, 4, 1), 2)
    >>> y[0, :, 0], argmax[0, :, 0]
    (Array([3., 2.], dtype=float32), Array([1, 2], dtype=int32))
    """
    function = "max_pool_with_argmax"
    x = real_map(function, x)
    options = (window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = geometry_of(function, x, *options)
    _check_count(function, geometry)
    y, m = window_max_and_tap(x, geometry=geometry)
    return y, _taps_to_pixels(m, geometry)


def max_unpool(
    y: AnyArray,
    argmax: AnyArray,
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    ceil_mode: bool = False,
    output_size: Sequence[int] | None = None,
    overlap: str = "sum",
    check_argmax: bool = False,
) -> Array:
    """Put the elements of a pooled map back to where the maxima were, among zeros.

    For the argmax of a max pool over windows,

        x[n,i,c] = Σ_p y[n,p,c] [argmax[n,p,c] = i]                                            (1)

    which is the transpose of the choice that the pool made, `max_pool` (4): the gradient of a max
    pool is the unpooling of the error. Linear in `y`, so the JVP is (1); and the VJP is the choice,

        y_bar[n,p,c] = x_bar[n, argmax[n,p,c], c]                                              (2)

    Where windows overlap, several can have their maximum in one pixel. (1) adds them up. With
    `overlap="mean"` the pixel receives their mean instead: then unpooling what was pooled gives
    each maximum back as it was, as in PyTorch, which writes one of them.

        x[n,i,c] = Σ_p y[n,p,c] / N[n,i,c] [argmax[n,p,c] = i],   N[n,i,c] = #{p: argmax[n,p,c] = i}

    Args:
      y: Pooled feature map `(n, *pooled, c)`.
      argmax: Pixels of the maxima, integers of the shape of `y`, as `max_pool_with_argmax` and
        PyTorch number them: within the map of one example and channel. A pixel that is not in its
        window, such as -1, receives nothing. So with another numbering, such as TensorFlow's, which
        counts channels, too, elements of `y` are lost, without an error unless `check_argmax`.
      window_shape, strides, padding, window_dilation, ceil_mode: Of the pool that made `argmax`.
      output_size: Spatial shape of the pool's input, which `argmax` was counted in. None means the
        one that windows cover exactly, the smallest that pools to `pooled` without `ceil_mode`; or
        for "SAME" and "SAME_LOWER" stride · pooled. It must be given where the input had another
        size, since `argmax` would be read wrongly.
      overlap: `"sum"` or `"mean"`.
      check_argmax: Raise if a pixel other than -1 is not in its window. The check is one of
        `jax.experimental.checkify`: outside of `jax.jit` it raises at once, inside it needs
        `checkify.checkify` around the function.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `y`.

    Raises:
      ValueError: The shapes of `y` and `argmax` differ, `output_size` would not pool to that of
        `y`, or an option is out of range.
      TypeError: `argmax` does not hold integers, `y` is no array of numbers, or one of
        float8_e8m0fnu, or, for the mean, not of floating-point numbers; an option has the wrong
        type.
      checkify.JaxRuntimeError: With `check_argmax`, a pixel is not in its window.

    Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
    arXiv:1311.2901, section 2.1 (the "switches"). (2) is its transpose.

    >>> y, argmax = max_pool_with_argmax(jnp.array([1.0, 3, 2, 2]).reshape(1, 4, 1), 2)
    >>> max_unpool(y, argmax, 2)[0, :, 0]
    Array([0., 3., 2., 0.], dtype=float32)
    """
    y, argmax = numeric_map("max_unpool", y, "y"), as_array("max_unpool: argmax", argmax)
    rank = spatial_rank("max_unpool", y, "y")
    if overlap not in OVERLAPS:
        raise ValueError(f"max_unpool: overlap must be 'sum' or 'mean', got {overlap!r}.")
    if not jnp.issubdtype(argmax.dtype, jnp.integer):
        raise TypeError(f"max_unpool: argmax must hold integers, got dtype {argmax.dtype}.")
    if argmax.shape != y.shape:
        raise ValueError(
            f"max_unpool: argmax must have the shape of y, got {argmax.shape} and {y.shape}; if y "
            "comes from another max_unpool, give that one the output_size of its pool's input."
        )
    options = _per_axis_options(rank, window_shape, strides, window_dilation)
    geometry = _unpool_geometry(y.shape[1:-1], padding, output_size, ceil_mode, *options)
    if not isinstance(check_argmax, bool):
        raise TypeError(f"max_unpool: check_argmax must be a bool, got {check_argmax!r}.")
    m = _pixels_to_taps(argmax, geometry)
    if check_argmax:
        _check_pixels(argmax, m, geometry)
    if overlap == "mean":
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            raise TypeError(f"max_unpool: y must be floating point for a mean, got {y.dtype}.")
        # Whole numbers, which half precision could not count.
        ones = jnp.ones(y.shape, jnp.int32)
        counts = window_gather(window_scatter(ones, m, geometry=geometry), m, geometry=geometry)
        wide = y.astype(algorithms.accumulator(y.dtype))
        shares = wide / lax.stop_gradient(jnp.maximum(counts, 1)).astype(wide.dtype)
        return window_scatter(shares, m, geometry=geometry).astype(y.dtype)
    return window_scatter(y, m, geometry=geometry)


def _per_axis_options(rank: int, window_shape: Size, strides: Size | None, dilation: Size):
    window = per_axis(window_shape, rank, "max_unpool: window_shape")
    strides = window if strides is None else per_axis(strides, rank, "max_unpool: strides")
    return window, strides, per_axis(dilation, rank, "max_unpool: window_dilation")


def _unpool_geometry(
    pooled: tuple[int, ...],
    padding: Padding,
    output_size: Sequence[int] | None,
    ceil_mode: bool,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Geometry:
    """The pool that is undone: its input is the result."""
    function, once = "max_unpool", (1,) * len(pooled)
    if output_size is None:
        none = (0,) * len(pooled)
        reach = tuple(map(extent, window, dilation))
        size, _ = transposed_input_size(function, pooled, reach, strides, padding, once, none)
    else:
        size = per_axis(output_size, len(pooled), f"{function}: output_size")
    geometry = pool_geometry(function, size, window, strides, padding, dilation, ceil_mode)
    if geometry.output_size != pooled:
        raise ValueError(
            f"{function}: a map of output_size {size} would be pooled to {geometry.output_size}, "
            f"but y has {pooled}; ceil_mode is {ceil_mode}."
        )
    _check_count(function, geometry)
    return geometry


def _check_pixels(argmax: Array, m: Array, geometry: Geometry) -> None:
    """Check, with `checkify`, that all pixels but -1 are in their windows."""
    is_outside = (m < 0) & (argmax != -1)
    checkify.check(
        ~is_outside.any(),
        "max_unpool: argmax must number pixels of the windows as max_pool_with_argmax does, in a "
        f"map of output_size {geometry.input_size} without channels, but {{count}} of them, the "
        "first {first}, are not in their windows.",
        count=is_outside.sum(),
        first=argmax.ravel()[is_outside.argmax()],
    )


def _check_count(function: str, geometry: Geometry) -> None:
    if np.prod(geometry.input_size, dtype=float) > np.iinfo(np.int32).max:
        raise ValueError(f"{function}: int32 cannot number the pixels of {geometry.input_size}.")


def _taps_to_pixels(m: Array, geometry: Geometry) -> Array:
    """(1) and (2) of `max_pool_with_argmax`."""
    taps = jnp.unravel_index(jnp.maximum(m.astype(jnp.int32), 0), geometry.window)
    pixel = jnp.zeros_like(taps[0])
    for (axis, r), (size, _, _, s, lo, _, d) in zip(enumerate(taps), geometry.axes(), strict=True):
        pixel = pixel * size + s * _positions(axis, geometry) + d * r - lo
    return jnp.where(m < 0, -1, pixel).astype(jnp.int32)


def _pixels_to_taps(argmax: Array, geometry: Geometry) -> Array:
    """The tap that sees a pixel from each window; -1 if none does."""
    argmax = argmax.astype(jnp.int32)
    inside = (argmax >= 0) & (argmax < np.prod(geometry.input_size))
    pixels = jnp.unravel_index(jnp.where(inside, argmax, 0), geometry.input_size)
    number = jnp.zeros_like(argmax)
    for (axis, i), (_, window, _, s, lo, _, d) in zip(
        enumerate(pixels), geometry.axes(), strict=True
    ):
        offset = i + lo - s * _positions(axis, geometry)
        r = offset // d
        inside &= (offset == d * r) & (r >= 0) & (r < window)
        number = number * window + r
    return jnp.where(inside, number, -1)


def _positions(axis: int, geometry: Geometry) -> Array:
    """The output positions along one axis, to be met by a pooled map."""
    shape = [1] * (geometry.rank + 2)
    shape[axis + 1] = -1
    return jnp.arange(geometry.output_size[axis], dtype=jnp.int32).reshape(shape)
