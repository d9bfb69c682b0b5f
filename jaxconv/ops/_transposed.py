"""Transposed convolution: the input gradient of a convolution, used as a layer."""

from dataclasses import replace
from typing import Any

from jax import lax

from .. import algorithms
from .._arguments import Padding, Size, integer
from .._spec import Slot
from .._typing import AnyArray, Array
from ._boundary import PaddingMode
from ._checks import check_flag
from ._convolution import carry_back
from ._operands import DimensionNumbers
from ._options import ConvOptions
from ._transposed_size import transposed_size


def conv_transpose(
    x: AnyArray,
    kernel: AnyArray,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    output_padding: Size = 0,
    output_shape: Size | None = None,
    crop: Padding | None = None,
    input_padding: Padding | None = None,
    transpose_kernel: bool = True,
    padding_mode: PaddingMode = "zeros",
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    kernel_dtype: Any = None,
    impl: str | None = None,
) -> Array:
    """Apply the transpose of a convolution: the adjoint of `conv` with the same arguments.

    A convolution is linear in its input, y = K x with one row of K for each output. The transposed
    convolution is x = Kᵀ y:

        <conv(x, k), y> = <x, conv_transpose(y, k)>      for all x and y                       (1)

    The map is that of `conv_input_vjp`, which carries gradients back through the convolution, here
    used as a layer. The derivation in `conv_input_vjp` shows that it is itself a convolution, of
    the dilated and padded input with the kernel rotated by 180°: deconvolutions are just
    convolutions. It is not the inverse of the convolution.

    The function is linear in `x` and in `kernel`. By (1), its VJP is the convolution itself, and
    `conv_kernel_vjp` with the two feature maps exchanged.

    All options are those of the *forward* convolution, so that a convolution and its transpose
    share one kernel and one set of arguments. A strided convolution maps several input sizes to one
    output size. The transposed convolution returns the smallest of them; for "SAME" and
    "SAME_LOWER" it returns `strides · size`. `output_padding` or `output_shape` asks for another.

    Other libraries describe the same map in other words. In this table `w` is their kernel, R the
    window, and `axes` moves the axes to `(*window, c, o)`: for the `(in, out, h, w)` of torch and
    Lasagne it is `w.transpose(2, 3, 1, 0)`.

        torch    ConvTranspose2d(stride=s, padding=p, output_padding=a, groups=g, dilation=d)
                 conv_transpose(x, axes(w), s, p, output_padding=a, feature_group_count=g,
                                kernel_dilation=d)
        Lasagne  TransposedConv2DLayer(stride=s, crop=c, output_size=z, flip_filters=f)
                 conv_transpose(x, axes(w), s, crop=c, output_shape=z, flip_kernel=not f)
                 `crop` is "valid", "same", "full" or explicit in both
        lax,     conv_transpose(x, w, s, "SAME")
        Flax     conv_transpose(x, w, s, "SAME", transpose_kernel=False)
                 conv_transpose(x, w, s, "VALID")
                 conv_transpose(x, w, s, "VALID", transpose_kernel=False)        where s ≤ R
                 conv_transpose(x, w, s, ((lo, hi), …))
                 conv_transpose(x, w, s, input_padding=((lo, hi), …), transpose_kernel=False)
                 conv_transpose(x, w, s, p, transpose_kernel=True, use_consistent_padding=True)
                 conv_transpose(x, w, s, p)
        Keras    Conv2DTranspose(strides=s, padding="same")
                 conv_transpose(x, w, s, "SAME")

    Numerics. An infinity or NaN in `x` reaches exactly the elements of the result that depend on
    it. One in the kernel reaches all elements of its channel, because its tap meets the zeros of
    the dilated and padded map.

    Args:
      x: Feature map `(n, *spatial, o)`, as the convolution's output.
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the dtype of
        `x` or a narrower one of its kind.
      strides: Of the convolution, as in `conv`.
      padding: Of the convolution, as in `conv`.
      output_padding: Additional size of the result on the high side, where less of the
        convolution's padding is cropped. It must be below the stride or the kernel dilation.
      output_shape: Spatial shape of the result, in place of `output_padding`.
      crop: In place of `padding`, what is cut from the whole result, in the words of Lasagne:
        `"VALID"` cuts nothing, `"SAME"` cuts window // 2 on either side of an odd window, `"FULL"`
        cuts window - 1. Explicit values are as for `padding`. With `crop`, `output_shape` adds rows
        on the high side.
      input_padding: In place of `padding`, the zeros `(lo, hi)` around the dilated input `x` over
        which the rotated kernel slides: d·(R-1) minus `padding`.
      transpose_kernel: False takes the kernel as `(*window, o / feature_group_count, c)`, which
        slides over the dilated input without a rotation.
      padding_mode: Of the convolution, as in `conv`.
      input_dilation: Of the convolution, as in `conv`.
      kernel_dilation: Of the convolution, as in `conv`.
      feature_group_count: Of the convolution, as in `conv`.
      dimension_numbers: Layouts of the convolution, as in `conv`; `x` has that of its output.
      flip_kernel: Of the convolution, as in `conv`.
      precision: As in `conv`.
      preferred_element_type: Dtype of the result. None means the dtype of `x`.
      kernel_dtype: As in `conv`.
      impl: As in `conv`.

    Returns:
      Feature map `(n, *size, c)` with size = s·(spatial-1) + d·(window-1) + 1 - lo - hi +
      output_padding.

    Raises:
      ValueError: Ranks or channels do not match, an option is out of range, the convolution maps
        `output_shape` to another shape than that of `x`, two of `padding`, `crop` and
        `input_padding` disagree, or `output_padding` and `output_shape` disagree.
      TypeError: An operand is not an array, dtypes differ, or an option has the wrong type.

    Source: Zeiler, Krishnan, Taylor & Fergus, "Deconvolutional networks", CVPR 2010,
    doi:10.1109/CVPR.2010.5539957; (1) as in Dumoulin & Visin, 2016, arXiv:1603.07285, chapter 4.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 4, 4, 8)), jnp.ones((4, 4, 3, 8))
    >>> conv_transpose(x, kernel, strides=2, padding=1).shape
    (2, 8, 8, 3)
    """
    name = "conv_transpose"
    options = ConvOptions(
        function=name,
        strides=strides,
        padding=padding,
        padding_mode=padding_mode,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        dimension_numbers=dimension_numbers,
        flip_kernel=flip_kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
        kernel_dtype=kernel_dtype,
        impl=impl,
    )
    check_flag(f"{name}: transpose_kernel", transpose_kernel)
    # `x` of this function is the output y of the convolution that it transposes.
    y = options.operand(Slot.OUTPUT, "x", x)
    k = options.operand(Slot.KERNEL, "kernel", kernel)
    if k.array.ndim != y.array.ndim:
        raise ValueError(
            f"{name}: x and kernel must have the same rank, got x of shape {y.array.shape} and "
            f"kernel of shape {k.array.shape}, channels last."
        )
    groups = integer(feature_group_count, f"{name}: feature_group_count")
    if not transpose_kernel:
        k = k._replace(array=_of_forward(k.array, groups))
    n, *size, o = y.array.shape
    *window, c, c_out = k.array.shape
    if c_out != o:
        raise ValueError(
            f"{name}: kernel gives c_out = {c_out} channels but x has {o}; x is the convolution's "
            f"output {y.array.shape}, kernel is (*window, c_in, c_out) = {k.array.shape}."
        )
    x_size, padding = transposed_size(
        tuple(size),
        tuple(window),
        strides=strides,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        padding=padding,
        crop=crop,
        input_padding=input_padding,
        output_padding=output_padding,
        output_shape=output_shape,
    )
    return carry_back(replace(options, padding=padding), y, k, (n, *x_size, c * groups))


def _of_forward(kernel: Array, groups: int) -> Array:
    """The kernel of the forward convolution, for a kernel `(*window, o/g, c)` that is rotated."""
    if kernel.shape[-1] % groups:
        raise ValueError(
            f"conv_transpose: feature_group_count = {groups} must divide the kernel's "
            f"c = {kernel.shape[-1]}; kernel is (*window, o / groups, c) = {kernel.shape}."
        )
    return algorithms.rotate_kernel(kernel, groups)
