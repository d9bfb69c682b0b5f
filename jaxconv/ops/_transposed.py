"""Transposed convolution: a convolution's input gradient as a layer of its own."""

from typing import Any

from jax import lax

from .._geometry import Padding, Size, per_axis, transposed_input_size
from .._typing import AnyArray, Array
from ._call import Call, DimensionNumbers
from ._convolution import carry_back


def conv_transpose(
    x: AnyArray,
    kernel: AnyArray,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    output_padding: Size = 0,
    output_shape: Size | None = None,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    impl: str | None = None,
) -> Array:
    """Apply the transpose of a convolution: the adjoint of `conv` with the same arguments.

    A convolution is linear in its input, y = K x with one row of K for each output. The transposed
    convolution is x = Kᵀ y:

        <conv(x, k), y> = <x, conv_transpose(y, k)>      for all x and y                       (1)

    which is what carries errors back through the convolution, `conv_input_vjp`, here run forward.
    By the derivation there it is itself a convolution, of the dilated and padded input with the
    kernel rotated by 180°: deconvolutions are just convolutions. Neither inverts the other.

    Linear in `x` and in `kernel`; its VJP is, by (1), the convolution itself and `conv_kernel_vjp`
    with the two feature maps exchanged.

    All options are those of the *forward* convolution, so that both share one kernel and one set of
    arguments. Several input sizes of a strided convolution give one output size; among them the
    transposed convolution returns the smallest, for "SAME" and "SAME_LOWER" `strides · size`, or
    the one that `output_padding` or `output_shape` asks for.

    Args:
      x: Feature map `(n, *spatial, o)`, as the convolution's output.
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the dtype of
        `x`. strides, padding, input_dilation, kernel_dilation, feature_group_count,
        dimension_numbers, flip_kernel, precision, impl: Of the convolution `conv`.
        `dimension_numbers` gives the convolution's layouts: `x` has that of its output.
      output_padding: Additional size of the result on the high side, below the stride.
      output_shape: Spatial shape of the result, in place of `output_padding`.
      preferred_element_type: dtype of the result; by default that of `x`.

    Returns:
      Feature map `(n, *size, c)` with size = s·(spatial-1) + d·(window-1) + 1 - lo - hi +
      output_padding.

    Raises:
      ValueError: Ranks or channels do not match, an option is out of range, `output_shape` is none
        that the convolution maps to `x`, or both it and `output_padding` are given.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: Zeiler, Krishnan, Taylor & Fergus, "Deconvolutional networks", CVPR 2010,
    doi:10.1109/CVPR.2010.5539957; (1) as in Dumoulin & Visin, 2016, arXiv:1603.07285, chapter 4.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 4, 4, 8)), jnp.ones((5, 5, 3, 8))
    >>> conv_transpose(x, kernel, strides=2, padding="SAME").shape
    (2, 8, 8, 3)
    """
    name = "conv_transpose"
    call = Call(name, dimension_numbers, flip_kernel, precision, preferred_element_type, impl)
    y, kernel = call.output("x", x), call.kernel("kernel", kernel)
    if kernel.ndim != y.ndim:
        raise ValueError(
            f"{name}: x and kernel must have the same rank, got x of shape {y.shape} and "
            f"kernel of shape {kernel.shape}, channels last."
        )
    if kernel.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"{name}: kernel gives c_out = {kernel.shape[-1]} channels but x has "
            f"{y.shape[-1]}; x is the convolution's output {y.shape}, "
            f"kernel is (*window, c_in, c_out) = {kernel.shape}."
        )
    rank = y.ndim - 2
    extra = per_axis(output_padding, rank, f"{name}: output_padding", minimum=0)
    if output_shape is None:
        size = transposed_input_size(
            name,
            y.shape[1:-1],
            kernel.shape[:-2],
            per_axis(strides, rank, f"{name}: strides"),
            padding,
            per_axis(input_dilation, rank, f"{name}: input_dilation"),
            per_axis(kernel_dilation, rank, f"{name}: kernel_dilation"),
            extra,
        )
    elif any(extra):
        raise ValueError(f"{name}: give output_padding or output_shape, not both.")
    else:
        size = per_axis(output_shape, rank, f"{name}: output_shape")
    (groups,) = per_axis(feature_group_count, 1, f"{name}: feature_group_count")
    shape = (y.shape[0], *size, kernel.shape[-2] * groups)
    spacing = strides, padding, input_dilation, kernel_dilation, groups
    return carry_back(call, {"x": y}, kernel, shape, spacing)
