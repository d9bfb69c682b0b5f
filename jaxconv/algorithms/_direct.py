"""Each corner as one convolution in the layout that XLA's backends know best.

Always `(n, *spatial, c)` with `(*window, c, o)`, whatever the corner: a convolution with permuted
dimension numbers, which lax's own transposes produce, is rewritten by XLA's CPU compiler at the top
level of a program only, and inside a loop runs a hundred times slower (jax#12868). The explicit
transposes cost one pass over an operand.

Cost: 2·n·|P|·|R|·c·o/g operations for P output positions and R taps, in every corner.
"""

import math

from jax import lax

from .._geometry import Geometry
from .._typing import Input, Kernel, Output
from ._arrays import (
    Dtypes,
    accumulator,
    common_dtype,
    examples_as_channels,
    in_whole_bytes,
    rotate_kernel,
    to_common_dtype,
)
from ._placing import cropped, place


def direct_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: the convolution itself."""
    if _is_product(geometry):
        return _product(x, kernel, (1, 0), dtypes[2], precision)
    return _convolve(x, kernel, geometry, precision, dtypes[2])


def direct_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the full convolution with the rotated kernel."""
    if _is_product(geometry):
        return _product(y, kernel, (1, 1), dtypes[0], precision)
    return _convolve(
        y, rotate_kernel(kernel, geometry.groups), geometry.transposed(), precision, dtypes[0]
    )


def direct_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: the input, examples as channels, convolved with the output's cotangent as kernel."""
    if _is_product(geometry):
        return _product(x, y, (0, 0), dtypes[1], precision)
    groups = geometry.groups
    taps = examples_as_channels(x, groups)  # (c/g, *input, g·n)
    n, *spatial, o = y.shape
    window = y.transpose(*range(1, y.ndim - 1), 0, y.ndim - 1)  # (*output, n, o)
    k = _convolve(taps, window, geometry.correlated(), precision, dtypes[1])
    return k.transpose(*range(1, k.ndim - 1), 0, k.ndim - 1)


def _is_product(geometry):
    """Whether nothing is left of a convolution but the sum over channels, or over examples."""
    return not geometry.rank and geometry.groups == 1


def _product(a, b, axes, dtype, precision):
    """Contract an axis of matrix `a` with one of `b`.

    Half-precision operands with a half-precision result need no wider dtype asked for: backends
    add up their products in float32, and the result is rounded once, where it is written.
    """
    a, b = map(in_whole_bytes, to_common_dtype(a, b))
    wide = common_dtype(a.dtype, dtype)
    contract = (((axes[0],), (axes[1],)), ((), ()))
    product = lax.dot_general(a, b, contract, precision=precision, preferred_element_type=wide)
    return product.astype(dtype)


def _convolve(x, kernel, geometry, precision, dtype):
    x, kernel = map(in_whole_bytes, to_common_dtype(x, kernel))
    sum_dtype = accumulator(common_dtype(x.dtype, dtype))
    if not geometry.rank:
        return _products(x, kernel, geometry.groups, precision, sum_dtype).astype(dtype)
    sides, geometry = cropped(geometry)  # XLA of JAX 0.10 gets some negative padding wrong
    x = place(x, sides)
    letters = "".join(map(chr, range(ord("0"), ord("0") + geometry.rank)))
    padding = _not_taken_for_groups(geometry)
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.strides,
        padding=padding,
        lhs_dilation=geometry.input_dilation,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=sum_dtype,
    )
    if padding != geometry.padding:
        y = lax.slice(y, (0,) * y.ndim, (y.shape[0], *geometry.output_size, y.shape[-1]))
    return y.astype(dtype)


def _not_taken_for_groups(geometry):
    """The padding, with room for one position more on axes that XLA would misunderstand.

    Where a window has more taps than the input has pixels, XLA exchanges the two, but not on axes
    as its own rewriting of groups makes them: input dilation r, stride r - 1 and no padding for a
    window of r. An axis that is like this by chance aborts the process (JAX 0.10 to 0.12).
    """
    if math.prod(geometry.window) <= math.prod(geometry.input_size):
        return geometry.padding
    return tuple(
        (lo, hi + s) if (lo, hi, d, e, s) == (0, 0, 1, r, max(1, r - 1)) and r != i else (lo, hi)
        for i, r, s, (lo, hi), e, d in zip(
            geometry.input_size,
            geometry.window,
            geometry.strides,
            geometry.padding,
            geometry.input_dilation,
            geometry.kernel_dilation,
            strict=True,
        )
    )


def _products(x, kernel, groups, precision, sum_dtype):
    """A convolution without spatial axes: one matrix product for each group."""
    (n, c), o = x.shape, kernel.shape[-1]
    x = x.reshape(n, groups, c // groups)
    kernel = kernel.reshape(c // groups, groups, o // groups)
    over_channels, over_groups = ((2,), (0,)), ((1,), (1,))
    y = lax.dot_general(
        x,
        kernel,
        (over_channels, over_groups),
        precision=precision,
        preferred_element_type=sum_dtype,
    )
    return y.transpose(1, 0, 2).reshape(n, o)
