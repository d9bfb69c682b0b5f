"""Each contraction as one convolution in the layout that XLA's backends know best.

The layout is always `(n, *spatial, c)` with `(*window, c, o)`. lax's own transposes produce
convolutions with permuted dimension numbers. XLA's CPU compiler rewrites those at the top level of
a program only, and inside a loop they run a hundred times slower (jax#12868). The explicit
transposes of this file cost one pass over an operand.

Takes 2·n·|P|·|R|·c·o/g operations for P output positions and R taps, in every contraction.
"""

import math

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder
from ._arrays import examples_as_channels, rotate_kernel
from ._dtypes import accumulator, common_dtype, in_whole_bytes, to_common_dtype
from ._padding import apply_cropping, pad_and_dilate


class Direct(Algorithm):
    """XLA's own convolution, or matrix product where there is no spatial axis."""

    name = "direct"
    finishes = frozenset(Remainder)

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve) -> Output:
        """∂T/∂y: the convolution itself."""
        if _is_product(spec.geometry):
            return _product(x, kernel, (1, 0), spec.dtypes.y, spec.precision)
        return convolve(x, kernel, spec.geometry, spec.precision, spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve) -> Input:
        """∂T/∂x: the full convolution with the rotated kernel."""
        geometry = spec.geometry
        if _is_product(geometry):
            return _product(y, kernel, (1, 1), spec.dtypes.x, spec.precision)
        rotated = rotate_kernel(kernel, geometry.groups, hints=self.hints)
        return convolve(y, rotated, geometry.transposed(), spec.precision, spec.dtypes.x)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve) -> Kernel:
        """∂T/∂k: the input, examples as channels, convolved with y as the kernel."""
        geometry = spec.geometry
        if _is_product(geometry):
            return _product(x, y, (0, 0), spec.dtypes.k, spec.precision)
        taps = examples_as_channels(x, geometry.groups)  # (c/g, *input, g·n)
        window = y.transpose(*range(1, y.ndim - 1), 0, y.ndim - 1)  # (*output, n, o)
        k = convolve(taps, window, geometry.correlated(), spec.precision, spec.dtypes.k)
        return k.transpose(*range(1, k.ndim - 1), 0, k.ndim - 1)


def as_forward(slot: Slot, geometry: Geometry) -> Geometry:
    """The geometry of the convolution by which a contraction is computed. It is its own inverse."""
    if slot == Slot.OUTPUT:
        return geometry
    return geometry.transposed() if slot == Slot.INPUT else geometry.correlated()


def _is_product(geometry: Geometry) -> bool:
    """Whether a contraction only sums over channels or over examples."""
    return not geometry.rank and geometry.groups == 1


def _product(a: Array, b: Array, axes: tuple[int, int], dtype, precision) -> Array:
    """Contract an axis of matrix `a` with one of `b`.

    Operands and results in half precision need no wider dtype: backends add up their products in
    float32, and round the result once, where it is written.
    """
    a, b = map(in_whole_bytes, to_common_dtype(a, b))
    wide = common_dtype(a.dtype, dtype)
    contract = (((axes[0],), (axes[1],)), ((), ()))
    product = lax.dot_general(a, b, contract, precision=precision, preferred_element_type=wide)
    return product.astype(dtype)


def convolve(
    x: Array,
    kernel: Array,
    geometry: Geometry,
    precision,
    dtype,
    *,
    axes: tuple[str, str, str] = ("N{}C", "{}IO", "N{}C"),
    by_examples: bool = False,
    rounds_once: bool = False,
) -> Array:
    """The convolution of two arrays, in any layout.

    Args:
      x: The input.
      kernel: The kernel.
      geometry: Sizes and spacings; `groups` are feature groups unless `by_examples`.
      precision: As lax takes it.
      dtype: Dtype of the result.
      axes: Layouts of input, kernel and result, with `{}` for the spatial axes.
      by_examples: Whether the examples are divided into the groups, not the channels.
      rounds_once: Whether the backend adds up 16 bits in float32 even if the result has 16 bits.

    Returns:
      The convolution, in the layout of `axes`.
    """
    x, kernel = map(in_whole_bytes, to_common_dtype(x, kernel))
    sum_dtype = common_dtype(x.dtype, dtype)
    if not (rounds_once and sum_dtype in (jnp.bfloat16, jnp.float16)):
        sum_dtype = accumulator(sum_dtype)
    if not geometry.rank:
        return _products(x, kernel, geometry.groups, precision, sum_dtype).astype(dtype)
    sides, geometry = apply_cropping(geometry)  # XLA of JAX 0.10 gets some negative padding wrong
    of_x, of_kernel, of_y = axes
    letters = "".join(map(chr, range(ord("0"), ord("0") + geometry.rank)))
    padding = _padding_without_false_groups(geometry)
    y = lax.conv_general_dilated(
        pad_and_dilate(x, sides),
        kernel,
        window_strides=geometry.strides,
        padding=padding,
        lhs_dilation=geometry.input_dilation,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(of_x.format(letters), of_kernel.format(letters), of_y.format(letters)),
        feature_group_count=1 if by_examples else geometry.groups,
        batch_group_count=geometry.groups if by_examples else 1,
        precision=precision,
        preferred_element_type=sum_dtype,
    )
    if padding != geometry.padding:
        first = of_y.index("{")  # where the spatial axes begin
        for axis, size in enumerate(geometry.output_size, start=first):
            y = lax.slice_in_dim(y, 0, size, axis=axis)
    return y.astype(dtype)


def _padding_without_false_groups(geometry: Geometry) -> tuple[tuple[int, int], ...]:
    """The padding, with room for one more position on axes that XLA would misunderstand.

    Where a window has more taps than the input has elements, XLA exchanges the two, except on axes
    that its own rewriting of feature groups has made. It recognises these by their input dilation
    r, stride r - 1 and missing padding, for a window of r. An axis of a user's that is like this by
    chance aborts the process (JAX 0.10 to 0.12).
    """
    if math.prod(geometry.window) <= math.prod(geometry.input_size):
        return geometry.padding

    def looks_like_groups(axis, padding):
        spacings = (padding, axis.d, axis.e, axis.s)
        return spacings == ((0, 0), 1, axis.r, max(1, axis.r - 1)) and axis.r != axis.i

    return tuple(
        (lo, hi + axis.s) if looks_like_groups(axis, (lo, hi)) else (lo, hi)
        for axis, (lo, hi) in zip(geometry.axes(), geometry.padding, strict=True)
    )


def _products(x: Array, kernel: Array, groups: int, precision, sum_dtype) -> Array:
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
