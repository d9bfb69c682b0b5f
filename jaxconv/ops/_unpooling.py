"""Max pooling with the positions of the maxima, and unpooling to these positions."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import checkify

from .. import algorithms
from .._arguments import Padding, Size
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ._checks import as_array, check_flag, is_one_of, numeric_map, real_map, spatial_rank
from ._pool_options import PoolOptions
from ._windows import window_gather, window_max_and_tap, window_scatter

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
    """Take the largest element of each window of a feature map, and return its position.

    The second result numbers the positions of the input, without padding, in row-major order over
    the spatial axes. Examples and channels are not counted. With the taps m of `max_pool` (1) and
    the sizes w of the spatial axes,

        i_a[n,p,c] = s_a·p_a + d_a·m_a[n,p,c] - lo_a                            on each axis a (1)
        argmax[n,p,c] = (i_1·w_2 + i_2)·w_3 + …                                                (2)

    The argmax is -1 where a window holds only padding. Of several equal elements the first one is
    taken, for the value, the position and the gradient.

    Derivative. The derivative of the maxima is that of `max_pool`, (3) and (4). The argmax is an
    integer and has none.

    Args:
      x: Feature map `(n, *spatial, c)`, real.
      window_shape: As in `max_pool`.
      strides: As in `max_pool`.
      padding: As in `max_pool`.
      window_dilation: As in `max_pool`.
      ceil_mode: As in `max_pool`.

    Returns:
      `(y, argmax)`, both `(n, *output, c)`: y in the dtype of `x`, argmax in int32.

    Raises:
      ValueError: As in `max_pool`; or int32 is too small for the number of positions.
      TypeError: As in `max_pool`.

    Source: the argmax is that of PyTorch's `max_pool2d(return_indices=True)`.

    >>> y, argmax = max_pool_with_argmax(jnp.array([1.0, 3, 2, 2]).reshape(1, 4, 1), 2)
    >>> y[0, :, 0], argmax[0, :, 0]
    (Array([3., 2.], dtype=float32), Array([1, 2], dtype=int32))
    """
    function = "max_pool_with_argmax"
    x = real_map(function, x)
    options = PoolOptions(function, window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_of(x)
    _check_count(function, geometry, "an x of size")
    y, m = window_max_and_tap(x, geometry=geometry)
    return y, _taps_to_argmax(m, geometry)


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
    """Put the elements of a pooled map back to the positions of the maxima, and zeros elsewhere.

    With the argmax of a max pool over windows,

        x[n,i,c] = Σ_p y[n,p,c] [argmax[n,p,c] = i]                                            (1)

    (1) is `max_pool` (4), the transpose of copying the elements that the pool chose. The gradient
    of a max pool is therefore the unpooling of the output gradient. (1) is linear in `y`, so the
    JVP is (1) itself. The VJP copies the chosen elements,

        y_bar[n,p,c] = x_bar[n, argmax[n,p,c], c]                                              (2)

    Where windows overlap, several can have their maximum at the same position. (1) adds their
    elements up. With `overlap="mean"` the position receives their mean instead:

        x[n,i,c] = Σ_p y[n,p,c] / N[n,i,c] [argmax[n,p,c] = i],   N[n,i,c] = #{p: argmax[n,p,c] = i}

    Unpooling the result of a pool then gives each maximum back unchanged. PyTorch gives the same
    result, because it writes one of several equal elements.

    Args:
      y: Pooled feature map `(n, *pooled, c)`.
      argmax: Positions of the maxima, integers of the shape of `y`. They number the positions of
        one example and channel, as in `max_pool_with_argmax` and PyTorch. An element of `y` whose
        position is not in its window, such as -1, is left out. TensorFlow's numbers count channels,
        too; with such numbers elements of `y` are lost, and only `check_argmax` raises an error.
      window_shape: That of the pool that made `argmax`.
      strides: Those of the pool.
      padding: That of the pool.
      window_dilation: That of the pool.
      ceil_mode: That of the pool.
      output_size: Spatial shape of the pool's input, to which the numbers in `argmax` refer. None
        means the size that the windows cover exactly, which is the smallest that is pooled to
        `pooled` without `ceil_mode`. For "SAME" and "SAME_LOWER" None means stride · pooled. If the
        input had another size, it must be given; otherwise `argmax` means other positions.
      overlap: What a position receives from several windows, `"sum"` or `"mean"`.
      check_argmax: Raise an error if a position other than -1 is not in its window. The check uses
        `jax.experimental.checkify`. Outside `jax.jit` it raises at once. Inside, the function must
        be transformed by `checkify.checkify`.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `y`.

    Raises:
      ValueError: The shapes of `y` and `argmax` differ, a map of `output_size` would not be pooled
        to the shape of `y`, or an option is out of range.
      TypeError: `argmax` does not hold integers; `y` is not an array of numbers, or its dtype is
        float8_e8m0fnu, or for the mean it is not floating point; or an option has the wrong type.
      checkify.JaxRuntimeError: With `check_argmax`, a position is not in its window.

    Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
    arXiv:1311.2901, section 2.1, where argmax is called "switches". (2) is derived here.

    >>> y, argmax = max_pool_with_argmax(jnp.array([1.0, 3, 2, 2]).reshape(1, 4, 1), 2)
    >>> max_unpool(y, argmax, 2)[0, :, 0]
    Array([0., 3., 2., 0.], dtype=float32)
    """
    y, argmax = numeric_map("max_unpool", y, "y"), as_array("max_unpool: argmax", argmax)
    spatial_rank("max_unpool", y, "y")
    if not is_one_of(overlap, OVERLAPS):
        raise ValueError(f"max_unpool: overlap must be 'sum' or 'mean', got {overlap!r}.")
    if not jnp.issubdtype(argmax.dtype, jnp.integer):
        raise TypeError(f"max_unpool: argmax must hold integers, got dtype {argmax.dtype}.")
    if argmax.shape != y.shape:
        raise ValueError(
            f"max_unpool: argmax must have the shape of y, got {argmax.shape} and {y.shape}; if y "
            "comes from another max_unpool, give that one the output_size of its pool's input."
        )
    options = PoolOptions("max_unpool", window_shape, strides, padding, window_dilation, ceil_mode)
    geometry = options.geometry_before(y.shape[1:-1], output_size, "y", "pooled")
    what = "the output_size, given or found from window_shape and strides,"
    _check_count("max_unpool", geometry, what)
    check_flag("max_unpool: check_argmax", check_argmax)
    m = _argmax_to_taps(argmax, geometry)
    if check_argmax:
        _check_argmax(argmax, m, geometry)
    if overlap == "mean":
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            raise TypeError(f"max_unpool: y must be floating point for a mean, got {y.dtype}.")
        # Counts are int32, because half precision cannot hold large whole numbers.
        ones = jnp.ones(y.shape, jnp.int32)
        counts = window_gather(window_scatter(ones, m, geometry=geometry), m, geometry=geometry)
        wide = y.astype(algorithms.accumulator(y.dtype))
        shares = wide / lax.stop_gradient(jnp.maximum(counts, 1)).astype(wide.dtype)
        return window_scatter(shares, m, geometry=geometry).astype(y.dtype)
    return window_scatter(y, m, geometry=geometry)


def _check_argmax(argmax: Array, m: Array, geometry: Geometry) -> None:
    """Check, with `checkify`, that all positions but -1 are in their windows."""
    if not argmax.size:
        return
    is_outside = (m < 0) & (argmax != -1)
    checkify.check(
        ~is_outside.any(),
        "max_unpool: argmax must number pixels of the windows as max_pool_with_argmax does, in a "
        f"map of output_size {geometry.input_size} without channels, but {{count}} of them, the "
        "first {first}, are not in their windows.",
        count=is_outside.sum(),
        first=argmax.ravel()[is_outside.argmax()],
    )


def _check_count(function: str, geometry: Geometry, what: str) -> None:
    most = np.iinfo(np.int32).max
    if np.prod(geometry.input_size, dtype=float) > most:
        raise ValueError(
            f"{function}: int32 cannot number the pixels of {what} {geometry.input_size}."
        )
    for axis in geometry.axes():
        if max(axis.lo, axis.s, axis.s * (axis.p - 1) + axis.d * (axis.r - 1)) > most:
            raise ValueError(
                f"{function}: int32 cannot number the positions of windows with strides "
                f"{geometry.strides}, window_dilation {geometry.kernel_dilation} and padding "
                f"{geometry.padding}."
            )


def _taps_to_argmax(m: Array, geometry: Geometry) -> Array:
    """(1) and (2) of `max_pool_with_argmax`."""
    taps = jnp.unravel_index(jnp.maximum(m.astype(jnp.int32), 0), geometry.window)
    number = jnp.zeros_like(taps[0])
    for a, (tap, axis) in enumerate(zip(taps, geometry.axes(), strict=True)):
        number = number * axis.i + axis.s * _output_positions(a, geometry) + axis.d * tap - axis.lo
    return jnp.where(m < 0, -1, number).astype(jnp.int32)


def _argmax_to_taps(argmax: Array, geometry: Geometry) -> Array:
    """The inverse of `_taps_to_argmax`; -1 where a position is not in its window."""
    if argmax.dtype.itemsize < 4:  # 8 or 16 bits may be too few for the number of pixels
        argmax = argmax.astype(jnp.int32)
    # Compared before it is narrowed: a number of 64 bits could become that of another pixel.
    pixels = jnp.asarray(math.prod(geometry.input_size), argmax.dtype)
    is_inside = (argmax >= 0) & (argmax < pixels)
    number = jnp.where(is_inside, argmax, 0).astype(jnp.int32)
    positions = jnp.unravel_index(number, geometry.input_size)
    m = jnp.zeros_like(number)
    for a, (i, axis) in enumerate(zip(positions, geometry.axes(), strict=True)):
        offset = i + axis.lo - axis.s * _output_positions(a, geometry)
        tap = offset // axis.d
        is_inside &= (offset == axis.d * tap) & (tap >= 0) & (tap < axis.r)
        m = m * axis.r + tap
    return jnp.where(is_inside, m, -1)


def _output_positions(axis: int, geometry: Geometry) -> Array:
    """The output positions along one axis, in a shape that broadcasts with a pooled map."""
    shape = [1] * (geometry.rank + 2)
    shape[axis + 1] = -1
    return jnp.arange(geometry.output_size[axis], dtype=jnp.int32).reshape(shape)
