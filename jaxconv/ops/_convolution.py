"""Convolution and its two gradients: the three contractions of one trilinear form.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                          (T)

`conv` is ∂T/∂y, `conv_input_vjp` is ∂T/∂x and `conv_kernel_vjp` is ∂T/∂k. Each is bilinear, and the
two transposes of each are the other two. The three functions are therefore closed under
differentiation.

Related work. It is known that a convolution and its gradients are three contractions of the same
kind. oneDNN and cuDNN have three routines for them: forward, backward data and backward weights.
F. Dangel, "Convolutions and More as Einsum: A Tensor Network Perspective with Advances for
Second-Order Methods", NeurIPS 2024, arXiv:2307.02275, writes them as tensor networks and
differentiates the networks' diagrams. In lax the transposes of a convolution are convolutions with
other layouts and dilations. This library makes the three contractions the primitives of a
differentiation system. Derivatives of every order and mode stay among them, and the code that
compiles a primitive knows which contraction it is and can choose an algorithm for it.
"""

from typing import Any

from jax import lax

from .._arguments import Padding, Size
from .._spec import Slot
from .._typing import AnyArray, Array
from ._boundary import PaddingMode, fold_boundary, pad_boundary, without_padding
from ._form import contract
from ._operands import DimensionNumbers, Operand
from ._options import ConvOptions


def conv(
    x: AnyArray,
    kernel: AnyArray,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
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
    """Convolve a feature map with a kernel, over any number of spatial dimensions.

    In one dimension, with stride s, input dilation e, kernel dilation d and low padding lo,

        y[n,p,o] = Σ_{i,r,c} x[n,i,c] k[r,c,o] [e·i + lo = s·p + d·r]                          (1)

    where [P] is 1 where P holds and 0 elsewhere. With s = d = e = 1 and lo = 0 this is
    y[p] = Σ_r x[p+r] k[r]: what the field calls a convolution and mathematics a cross-correlation.
    `flip_kernel=True` gives the convolution of mathematics, y[p] = Σ_r x[p-r] k[r].

    Derivatives. (1) is linear in `x` and in `k`, so the JVP is the product rule,

        y_dot = conv(x_dot, k) + conv(x, k_dot)                                                (2)

    and the VJP contracts (T) with the cotangent `y_bar` in place of `y`:

        x_bar = ∂T(x, k, y_bar)/∂x = conv_input_vjp(y_bar, k)                                  (3)
        k_bar = ∂T(x, k, y_bar)/∂k = conv_kernel_vjp(x, y_bar)                                 (4)

    The docstrings of these functions derive both line by line, and say why the kernel comes back
    rotated by 180°.

    Numerics. An output depends only on the elements that (1) gives it. Other finite values do not
    change its bits. Its rounding error is at most eps times the number of its terms times the sum
    of their magnitudes. An infinity or NaN in `x` reaches exactly the outputs whose windows contain
    it. An infinity or NaN in the kernel reaches all outputs of its channel, because the padding is
    made of zeros and 0 · inf is NaN.

    The gradients keep the same promises for finite values. An infinity or NaN reaches the elements
    of a gradient that depend on it. It may also reach other elements of its example or of its
    channel, for instance those less than a stride or less than a window further along a row.

    Every algorithm that runs by default keeps these promises. `impl="fourier"` keeps none of them:
    each output then depends on its whole example, and rounding errors are relative to the norms of
    the operands. It is faster for large windows with many channels.

    Args:
      x: Feature map `(n, *spatial, c)`.
      kernel: Kernel `(*window, c / feature_group_count, o)`, of the dtype of `x` unless
        `kernel_dtype` is given.
      strides: Step s between windows: an int, or one for each spatial axis.
      padding: `"VALID"` pads nothing. `"SAME"` gives an output of ceil(size / stride) and puts an
        odd rest on the high side, `"SAME_LOWER"` on the low side. `"FULL"` pads so that every
        overlap of window and input is an output. `"CAUSAL"` pads the low side only, so that an
        output depends on no later input. Explicit padding is one int, or one int or `(lo, hi)` pair
        for each axis. Negative values crop.
      padding_mode: What the padding contains: `"zeros"`, or elements of the map itself.
        `"circular"` continues the map at its other end, `"reflect"` mirrors it in its border
        element and `"replicate"` repeats the border element. The gradient in the padding flows back
        to the elements that were copied.
      input_dilation: Spacing e of the input's elements, with zeros between them.
      kernel_dilation: Spacing d of the kernel's taps.
      feature_group_count: Number of groups that both channel axes are divided into. The outputs of
        a group depend on the inputs of the same group only.
      dimension_numbers: Layouts of `x`, `kernel` and the result, as `jax.lax.conv_general_dilated`
        takes them. None means channels last, as above. Options with an entry for each axis have
        them in the order of the kernel's window axes.
      flip_kernel: Reverse the kernel along all window axes first.
      precision: As in `jax.lax.conv_general_dilated`.
      preferred_element_type: Dtype of the result, no narrower than that of the operands. None means
        the dtype of `x`. Sums of products of 16 bits and less are kept in float32 in any case, and
        sums of integers of less than 8 bits in 32 bits.
      kernel_dtype: Dtype that the kernel is rounded to before products, where its own is wider than
        that of `x`. The kernel's gradient is not rounded: with bfloat16 features, a float32 kernel
        and `kernel_dtype=jnp.bfloat16` all products are of bfloat16 values, and the gradient is the
        float32 sum.
      impl: None chooses an algorithm by platform and shape. `"textbook"` runs the formula of the
        derivation. `"lax"` is `jax.lax.conv_general_dilated` with autodiff's derivatives. The name
        of an algorithm, as `jaxconv.explain` lists them, runs that algorithm here and, where it
        applies, in all derivatives. `"fourier"` runs only where `impl` names it.

    Returns:
      Feature map `(n, *output, o)` with
      output = floor((e·(size-1) + 1 + lo + hi - d·(window-1) - 1) / s) + 1.

    Raises:
      ValueError: Ranks, channels or groups do not match, an option is out of range, the window is
        larger than the padded input, `padding_mode` has no element to pad with, or the algorithm
        that `impl` names does not apply.
      TypeError: An operand is not an array, dtypes differ, or an option has the wrong type.

    Source: (1) is the convolution of Dumoulin & Visin, "A guide to convolution arithmetic for deep
    learning", 2016, arXiv:1603.07285, with both dilations.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> conv(x, kernel, strides=2, padding="SAME").shape
    (2, 4, 4, 4)
    """
    options = ConvOptions(
        function="conv",
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
    return convolve(
        options,
        options.operand(Slot.INPUT, "x", x),
        options.operand(Slot.KERNEL, "kernel", kernel),
    )


def conv_input_vjp(
    y_bar: AnyArray,
    kernel: AnyArray,
    input_shape: tuple[int, ...],
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
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
    """Carry the cotangent of a convolution's output back to its input.

    Start from the definition, y[n,p,o] = Σ_{r,c} x[n, p+r, c] k[r,c,o], with stride 1 and no
    padding:

        x_bar[n,i,c] = Σ_{p,o} y_bar[n,p,o] ∂y[n,p,o]/∂x[n,i,c]                 chain rule
                     = Σ_{p,o} y_bar[n,p,o] Σ_r k[r,c,o] [p + r = i]       terms without x[i] vanish
                     = Σ_{r,o} y_bar[n, i-r, o] k[r,c,o]                     one p is left       (1)
                     = Σ_{r',o} y_bar[n, i-(R-1)+r', o] k[R-1-r', c, o]        r = R-1-r'        (2)
                     = Σ_{r',o} y_pad[n, i+r', o] k_rot[r', o, c]               (3)

    where `y_pad` has R-1 zeros on either side, since 0 <= i-(R-1)+r' < P fails for the outermost i,
    and `k_rot` is the kernel rotated by 180° in space with its channel axes exchanged. (3) is a
    convolution again, of the padded cotangent with the rotated kernel: a *full* convolution.

    Why must the kernel be rotated? Because the forward pass reads x[p+r] through the tap k[r]: the
    pixel at the *left* of a window meets the *first* tap. Seen from one pixel i, the windows that
    contain it do so in the opposite order, (1): the window that starts furthest to the left,
    i-(R-1), contains it under the *last* tap. A convolution runs through its taps in step with its
    positions, so the taps have to be listed backwards. In two dimensions both axes run backwards: a
    rotation by 180°. The channel axes change places because gradients enter where outputs left.

    With options, the equation p + r = i becomes s·p + d·r = e·i + lo. With stride s, only every
    s-th position of a stride-1 output exists, so the cotangent is first dilated with s-1 zeros. The
    padding becomes d·(R-1) - lo, the taps stay d apart, and every e-th element of the result is
    kept.

    This is the adjoint of `conv` in `x`: <conv(x, k), y_bar> = <x, conv_input_vjp(y_bar, k)>. As a
    layer it is `conv_transpose`. Its derivatives are the other two contractions of (T): `conv` in
    `y_bar` and `conv_kernel_vjp` in the kernel.

    Args:
      y_bar: Cotangent of the output, `(n, *output, o)`.
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the dtype of
        `y_bar`. It may be narrower, because a convolution's result may have been preferred wider.
      input_shape: Shape `(n, *spatial, c)` of the convolution's input. It cannot be inferred, since
        a strided convolution maps several sizes to one.
      strides: Of the convolution, as in `conv`.
      padding: Of the convolution, as in `conv`.
      padding_mode: Of the convolution, as in `conv`.
      input_dilation: Of the convolution, as in `conv`.
      kernel_dilation: Of the convolution, as in `conv`.
      feature_group_count: Of the convolution, as in `conv`.
      dimension_numbers: Of the convolution, as in `conv`.
      flip_kernel: Of the convolution, as in `conv`.
      precision: Of the convolution, as in `conv`.
      preferred_element_type: Dtype of the result, no narrower than that of `kernel`. None means
        the dtype of `y_bar`.
      kernel_dtype: Of the convolution, as in `conv`.
      impl: Of the convolution, as in `conv`.

    Returns:
      Cotangent of the input, of shape `input_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is not an array, dtypes differ, or an option has the wrong type.

    Source: (3) is in Bouvrie, "Notes on convolutional neural networks", 2006. The steps to it are
    those of G. Gwardys, "Convolutional Neural Networks backpropagation: from intuition to
    derivation", 2016. M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 6, leaves it
    as a problem. Strides are in Dumoulin & Visin, 2016, arXiv:1603.07285, chapter 4.

    >>> import jax.numpy as jnp
    >>> y_bar, kernel = jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 3, 4))
    >>> conv_input_vjp(y_bar, kernel, input_shape=(2, 8, 8, 3)).shape
    (2, 8, 8, 3)
    """
    options = ConvOptions(
        function="conv_input_vjp",
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
    return carry_back(
        options,
        options.operand(Slot.OUTPUT, "y_bar", y_bar),
        options.operand(Slot.KERNEL, "kernel", kernel),
        options.shape(Slot.INPUT, "input_shape", input_shape),
    )


def conv_kernel_vjp(
    x: AnyArray,
    y_bar: AnyArray,
    kernel_shape: tuple[int, ...],
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    padding_mode: PaddingMode = "zeros",
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    impl: str | None = None,
) -> Array:
    """Carry the cotangent of a convolution's output back to its kernel.

    From the definition, y[n,p,o] = Σ_{r,c} x[n, p+r, c] k[r,c,o], with stride 1 and no padding:

        k_bar[r,c,o] = Σ_{n,p,o'} y_bar[n,p,o'] ∂y[n,p,o']/∂k[r,c,o]            chain rule
                     = Σ_{n,p} y_bar[n,p,o] x[n, p+r, c]                terms with o' ≠ o vanish (1)

    The tap k[r] is used once for each example and position. Its gradient is the sum of the output's
    gradients at all these places, each weighted with the pixel that the tap met there. (1) is again
    a convolution, of the input with the cotangent as window, and it sums over examples as a
    convolution sums over channels. Nothing is rotated, since x and y both run in their own order.

    With options, the pixel that tap r meets at p is the i with e·i + lo = s·p + d·r. The elements
    of the cotangent lie s apart on the input, and every d-th offset is kept.

    Its derivatives are the other two contractions of (T): `conv_input_vjp` in `x` and `conv` in
    `y_bar`.

    Args:
      x: Input of the convolution, `(n, *spatial, c)`.
      y_bar: Cotangent of its output, `(n, *output, o)`, of the dtype of `x`. It may be wider,
        because a convolution's result may have been preferred wider.
      kernel_shape: Shape `(*window, c / feature_group_count, o)` of its kernel.
      strides: Of the convolution, as in `conv`.
      padding: Of the convolution, as in `conv`.
      padding_mode: Of the convolution, as in `conv`.
      input_dilation: Of the convolution, as in `conv`.
      kernel_dilation: Of the convolution, as in `conv`.
      feature_group_count: Of the convolution, as in `conv`.
      dimension_numbers: Of the convolution, as in `conv`.
      flip_kernel: Of the convolution, as in `conv`.
      precision: Of the convolution, as in `conv`.
      preferred_element_type: Dtype of the result. None means the dtype of `x`. float32 keeps the
        sums of half-precision products unrounded.
      impl: Of the convolution, as in `conv`.

    Returns:
      Cotangent of the kernel, of shape `kernel_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is not an array, dtypes differ, or an option has the wrong type.

    Source: (1) is in Bouvrie, "Notes on convolutional neural networks", 2006, and with strides in
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 9.5.

    >>> import jax.numpy as jnp
    >>> x, y_bar = jnp.ones((2, 8, 8, 3)), jnp.ones((2, 6, 6, 4))
    >>> conv_kernel_vjp(x, y_bar, kernel_shape=(3, 3, 3, 4)).shape
    (3, 3, 3, 4)
    """
    options = ConvOptions(
        function="conv_kernel_vjp",
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
        impl=impl,
    )
    return correlate(
        options,
        options.operand(Slot.INPUT, "x", x),
        options.operand(Slot.OUTPUT, "y_bar", y_bar),
        options.shape(Slot.KERNEL, "kernel_shape", kernel_shape),
    )


# Public functions end in one of these three. They take operands that are channels last, and lay out
# the result as the user asks for it.


def convolve(options: ConvOptions, x: Operand, kernel: Operand) -> Array:
    """∂T/∂y: the convolution."""
    spec = options.spec(x.array.shape, kernel.array.shape, x, kernel)
    padded = pad_boundary(x.array, spec, options.padding_mode)
    spec = without_padding(spec, options.padding_mode)
    y = contract(options.function, Slot.OUTPUT, spec, padded, kernel.array)
    return options.result(Slot.OUTPUT, y)


def carry_back(
    options: ConvOptions, y: Operand, kernel: Operand, x_shape: tuple[int, ...]
) -> Array:
    """∂T/∂x: the gradient of an input of shape `x_shape`."""
    spec = options.spec(x_shape, kernel.array.shape, y, kernel)
    unpadded = without_padding(spec, options.padding_mode)
    x_bar = contract(options.function, Slot.INPUT, unpadded, kernel.array, y.array)
    return options.result(Slot.INPUT, fold_boundary(x_bar, spec, options.padding_mode))


def correlate(options: ConvOptions, x: Operand, y: Operand, kernel_shape: tuple[int, ...]) -> Array:
    """∂T/∂k: the gradient of a kernel of shape `kernel_shape`."""
    spec = options.spec(x.array.shape, kernel_shape, x, y)
    padded = pad_boundary(x.array, spec, options.padding_mode)
    spec = without_padding(spec, options.padding_mode)
    k_bar = contract(options.function, Slot.KERNEL, spec, padded, y.array)
    return options.result(Slot.KERNEL, k_bar)
