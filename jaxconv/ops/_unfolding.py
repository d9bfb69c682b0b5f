"""Unfolding a feature map into its windows, and folding windows back: im2col and its transpose."""

import math
from collections.abc import Sequence

import jax

from .. import algorithms
from .._arguments import Padding, Size
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ..forms import axis_by_axis, linear_pair, merge_leading_axes
from ._checks import numeric_map, spatial_rank
from ._pool_options import PoolOptions
from ._windows import unless_empty


def unfold(
    x: AnyArray,
    window_shape: Size,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Array:
    """Write the elements of each window of a feature map side by side (im2col).

        y[n, p, r·c + j] = x[n, s·p + d·r - lo, j]            for the taps r and the channels j (1)

    r counts the taps of a window in row-major order, and the channels are innermost, as in the
    kernel of `conv`. A convolution is therefore one product of matrices:

        conv(x, kernel) = unfold(x, window) @ kernel.reshape(-1, c_out)

    Derivative. (1) copies elements, so it is linear and the JVP is (1) itself. Its transpose is
    `fold`: every element receives the sum of the gradients of its copies,

        x_bar[n, i, j] = Σ_{p,r} y_bar[n, p, r·c + j] [s·p + d·r - lo = i]                     (2)

    Args:
      x: Feature map `(n, *spatial, c)`.
      window_shape: Size of the windows; an int or one for each spatial axis.
      strides: Step s between windows; an int or one for each spatial axis.
      padding: As in `conv`, but not negative. The padding is zero.
      window_dilation: Spacing d of the taps of a window.

    Returns:
      Patches `(n, *output, taps · c)`, in the dtype of `x`, with
      output = floor((size + lo + hi - d·(window-1) - 1) / s) + 1.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, an option is out of range, or a window is larger
        than the padded input.
      TypeError: `x` is not an array of numbers, or its dtype is float8_e8m0fnu, which has no zero;
        or an option has the wrong type.

    Source: Chellapilla, Puri & Simard, "High performance convolutional neural networks for document
    processing", 2006. (2) is derived here.

    >>> import jax.numpy as jnp
    >>> unfold(jnp.arange(4.0).reshape(1, 4, 1), 2)[0]
    Array([[0., 1.],
           [1., 2.],
           [2., 3.]], dtype=float32)
    """
    x = numeric_map("unfold", x)
    options = PoolOptions("unfold", window_shape, strides, padding, window_dilation)
    return _unfold(x, geometry=options.geometry_of(x))


def fold(
    patches: AnyArray,
    window_shape: Size,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Add windows up to a feature map, each element where it was taken from (col2im).

        x[n, i, j] = Σ_{p,r} y[n, p, r·c + j] [s·p + d·r - lo = i]                             (1)

    (1) is the transpose of `unfold`, and `unfold` is the transpose of (1), from which derivatives
    of every order follow. Where windows overlap, their elements are added. So `fold(unfold(x))` is
    x times the number of windows that hold each element, and fold(y) / fold(unfold(1)) is the mean
    of overlapping windows.

    Args:
      patches: Patches y, `(n, *output, taps · c)`, in the order of `unfold`. Floating point
        narrower than float32 is summed in float32.
      window_shape: As in `unfold`.
      strides: As in `unfold`.
      padding: As in `unfold`, of the feature map that is returned.
      window_dilation: As in `unfold`.
      output_size: Spatial shape of the result. None means the size that the windows cover exactly;
        for "SAME" and "SAME_LOWER" stride · output.

    Returns:
      Feature map `(n, *output_size, c)`, in the dtype of `patches`.

    Raises:
      ValueError: `patches` is not `(n, *output, taps · c)`, a map of `output_size` has another
        number of windows, or an option is out of range.
      TypeError: `patches` is not an array of numbers, or its dtype is float8_e8m0fnu, which has no
        zero; or an option has the wrong type.

    Source: as for `unfold`; (1) is derived there.

    >>> import jax.numpy as jnp
    >>> fold(jnp.ones((1, 3, 2)), 2)[0, :, 0]
    Array([1., 2., 2., 1.], dtype=float32)
    """
    patches = numeric_map("fold", patches, "patches")
    spatial_rank("fold", patches, "patches")
    options = PoolOptions("fold", window_shape, strides, padding, window_dilation)
    geometry = options.geometry_before(patches.shape[1:-1], output_size, "patches", "unfolded")
    taps = math.prod(geometry.window)
    if patches.shape[-1] % taps:
        raise ValueError(
            f"fold: the last axis of patches must hold a multiple of the {taps} taps of a window, "
            f"got shape {patches.shape}."
        )
    return _fold(patches, geometry=geometry)


def _result(slot: str, operand, *, geometry: Geometry) -> jax.ShapeDtypeStruct:
    (n, *_, c), taps = operand.shape, math.prod(geometry.window)
    if slot == "out":
        shape = n, *geometry.output_size, c * taps
    else:
        shape = n, *geometry.input_size, c // taps
    return jax.ShapeDtypeStruct(shape, operand.dtype)


_unfold, _fold = linear_pair(
    *unless_empty(algorithms.unfold_windows, algorithms.fold_windows, _result),
    name="jaxconv_unfold",
    result=_result,
    batch=merge_leading_axes,
    shard=axis_by_axis,
)
