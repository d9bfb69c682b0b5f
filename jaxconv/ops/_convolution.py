"""Convolution and its two gradients: the three corners of one trilinear form.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                          (T)

`conv` is ∂T/∂y, `conv_input_vjp` is ∂T/∂x and `conv_kernel_vjp` is ∂T/∂k. Each is bilinear, and the
two transposes of each are the other two, so these three functions are closed under differentiation.

Relatives. That a convolution and its gradients are three contractions of the same kind is known.
oneDNN has three routines for them (forward, backward data, backward weights), and so has cuDNN. F.
Dangel, "Convolutions and More as Einsum: A Tensor Network Perspective with Advances for
Second-Order Methods", NeurIPS 2024, arXiv:2307.02275, writes them as tensor networks and
differentiates their diagrams. In lax the transposes of a convolution are convolutions, with other
layouts and dilations. New here is to make the three corners of (T) the primitives of a
differentiation system: derivatives of every order and mode stay among them, and what compiles a
corner knows which one it is, and can choose an algorithm for it.
"""

from typing import Any

from jax import lax

from .._geometry import Padding, Size
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
    `flip_kernel=True` gives the latter's convolution, y[p] = Σ_r x[p-r] k[r].

    Derivatives. (1) is linear in `x` and in `k`, so the JVP is the product rule,

        y_dot = conv(x_dot, k) + conv(x, k_dot)                                                (2)

    and the VJP contracts (T) with the cotangent `y_bar` in place of `y`:

        x_bar = ∂T(x, k, y_bar)/∂x = conv_input_vjp(y_bar, k)                                  (3)
        k_bar = ∂T(x, k, y_bar)/∂k = conv_kernel_vjp(x, y_bar)                                 (4)

    Both are derived, line by line, in the docstrings of these functions, which also say why the
    kernel comes back rotated by 180°.

    Numerics. An output depends only on the pixels and taps that (1) gives it. Changing any other
    finite number leaves its bits as they are, and its rounding error is at most eps times the
    number of its terms times the sum of their magnitudes. An infinity or NaN in `x` reaches exactly
    the outputs whose windows hold it. One in the kernel reaches all outputs of its channel, because
    the padding is made of zeros and 0 · inf is NaN.

    The gradients keep the same promises for finite numbers. An infinity or NaN reaches the elements
    of a gradient that depend on it. It may also reach others of its example, or of its channel: for
    example those less than a stride, or less than a window, further along the same row.

    All this holds for every algorithm that is chosen by default. `impl="fourier"` is faster for
    large windows with many channels and keeps none of it: each output then sees its whole example,
    and rounding errors are relative to the norms of the operands.

    Args:
      x: Feature map `(n, *spatial, c)`.
      kernel: Kernel `(*window, c / feature_group_count, o)`, of the dtype of `x` (but see
        `kernel_dtype`).
      strides: Step s between windows; an int or one for each spatial axis.
      padding: `"VALID"` (none), `"SAME"` or `"SAME_LOWER"` (an output of ceil(size / stride); an
        odd rest goes high or low), `"FULL"` (every overlap), `"CAUSAL"` (all on the low side, so
        that an output sees no input after its own), or explicit: one int, or one int or `(lo, hi)`
        pair for each axis. Negative values crop.
      padding_mode: What the padding holds: `"zeros"`, or pixels of the map itself, `"circular"`
        (it goes round), `"reflect"` (a mirror in the border pixel) or `"replicate"` (the border
        goes on). The error of a padding pixel flows back to where the pixel came from.
      input_dilation: Spacing e of the input's pixels, with zeros between them.
      kernel_dilation: Spacing d of the kernel's taps.
      feature_group_count: Number of groups into which both channel axes fall; group by group,
        outputs see only inputs of their own.
      dimension_numbers: Layouts of `x`, `kernel` and the result, as `jax.lax.conv_general_dilated`
        takes them; None means channels last, as above.
      flip_kernel: Turn the kernel by 180° first: a true convolution.
      precision: As for `jax.lax.conv_general_dilated`.
      preferred_element_type: dtype of the result, no narrower than the operands'; by default that
        of `x`. Sums of products of 16 bits and less are kept in float32 in any case, those of
        integers of less than 8 bits in 32 bits.
      kernel_dtype: dtype that the kernel is rounded to before it is used, where its own is wider
        than that of `x`. Its gradient is not rounded: with bfloat16 features, a float32 kernel and
        `kernel_dtype=jnp.bfloat16` all products are of bfloat16 numbers, and the gradient arrives
        in float32, as it was summed up.
      impl: None chooses an algorithm for platform and shape; `"textbook"` runs the formula of the
        derivation literally; `"lax"` is `jax.lax.conv_general_dilated` with autodiff's derivatives.
        The name of an algorithm, as `jaxconv.explain` lists them, asks for that one here and,
        where it applies, in all derivatives. `"fourier"` runs only when asked for; see Numerics.

    Returns:
      Feature map `(n, *output, o)` with
      output = floor((e·(size-1) + 1 + lo + hi - d·(window-1) - 1) / s) + 1.

    Raises:
      ValueError: Ranks, channels or groups do not match, an option is out of range, the window is
        larger than the padded input, `padding_mode` has no pixel to pad with, or the
        algorithm that `impl` names does not apply.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: (1) is the convolution of Dumoulin & Visin, "A guide to convolution arithmetic for deep
    learning", 2016, arXiv:1603.07285, with both dilations. For (3) and (4) see the two functions.

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
    """Carry the error of a convolution's output back to its input.

    Start from the definition, y[n,p,o] = Σ_{r,c} x[n, p+r, c] k[r,c,o], with stride 1 and no
    padding:

        x_bar[n,i,c] = Σ_{p,o} y_bar[n,p,o] ∂y[n,p,o]/∂x[n,i,c]                 chain rule
                     = Σ_{p,o} y_bar[n,p,o] Σ_r k[r,c,o] [p + r = i]       terms without x[i] vanish
                     = Σ_{r,o} y_bar[n, i-r, o] k[r,c,o]                     one p is left       (1)
                     = Σ_{r',o} y_bar[n, i-(R-1)+r', o] k[R-1-r', c, o]        r = R-1-r'        (2)
                     = Σ_{r',o} y_pad[n, i+r', o] k_rot[r', o, c]               (3)

    where `y_pad` has R-1 zeros on either side, since 0 <= i-(R-1)+r' < P fails for the outermost i,
    and `k_rot` is the kernel turned by 180° in space with its channel axes exchanged. (3) is a
    convolution again, of the padded error with the rotated kernel: a *full* convolution.

    Why must the kernel be rotated? Because the forward pass reads x[p+r] through the tap k[r]: the
    pixel at the *left* of a window meets the *first* tap. Seen from one pixel i, the windows that
    contain it do so in the opposite order, (1): the window that starts furthest to the left,
    i-(R-1), holds it under the *last* tap. A convolution runs through its taps in step with its
    positions, so the taps have to be listed backwards. In two dimensions both axes run backwards: a
    turn by 180°. The channel axes change places because errors enter where outputs left.

    With stride s the equation p + r = i becomes s·p + d·r = e·i + lo: only every s-th place of a
    stride-1 output exists, so the error is first dilated with s-1 zeros; the padding becomes
    d·(R-1) - lo, the taps stay d apart, and of the result each e-th place is kept.

    This is the adjoint of `conv` in `x`: <conv(x, k), y_bar> = <x, conv_input_vjp(y_bar, k)>. As a
    layer of its own it is `conv_transpose`. Its derivatives are the other two corners of (T):
    `conv` for `y_bar`, `conv_kernel_vjp` for the kernel.

    Args:
      y_bar: Cotangent of the output, `(n, *output, o)`.
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the dtype of
        `y_bar` or a narrower one of its kind, as where the convolution's result was preferred wide.
      input_shape: Shape `(n, *spatial, c)` of the convolution's input; a strided convolution maps
        several sizes to one, so it cannot be inferred.
      strides, padding, padding_mode, input_dilation, kernel_dilation, feature_group_count,
        dimension_numbers, flip_kernel, precision, kernel_dtype, impl: Of the convolution `conv`.
      preferred_element_type: dtype of the result, no narrower than that of `kernel`; by default
        that of `y_bar`.

    Returns:
      Cotangent of the input, of shape `input_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: (3) is in Bouvrie, "Notes on convolutional neural networks", 2006; the way to it is that
    of G. Gwardys, "Convolutional Neural Networks backpropagation: from intuition to derivation",
    2016. M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 6, leaves it as a problem.
    For strides Dumoulin & Visin, 2016, arXiv:1603.07285, chapter 4. The rest is derived here.

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
    """Carry the error of a convolution's output back to its kernel.

    From the definition, y[n,p,o] = Σ_{r,c} x[n, p+r, c] k[r,c,o], with stride 1 and no padding:

        k_bar[r,c,o] = Σ_{n,p,o'} y_bar[n,p,o'] ∂y[n,p,o']/∂k[r,c,o]            chain rule
                     = Σ_{n,p} y_bar[n,p,o] x[n, p+r, c]                terms with o' ≠ o vanish (1)

    The tap k[r] is used once for each example and position: its gradient is the sum of the errors
    at all these places, each weighted with the pixel that it met. (1) is again a convolution: the
    input with the error as window, the examples summed over as channels are. Nothing is rotated,
    since both x and y run in their own order.

    With options, the pixel that tap r meets at p is the i with e·i + lo = s·p + d·r: the error's
    pixels lie s apart on the input, and of the offsets each d-th is kept.

    Its derivatives are the other two corners of (T): `conv_input_vjp` for `x`, `conv` for `y_bar`.

    Args:
      x: Input of the convolution, `(n, *spatial, c)`.
      y_bar: Cotangent of its output, `(n, *output, o)`, of the dtype of `x` or a wider one of its
        kind, as where the convolution's result was preferred wide.
      kernel_shape: Shape `(*window, c / feature_group_count, o)` of its kernel.
      strides, padding, padding_mode, input_dilation, kernel_dilation, feature_group_count,
        dimension_numbers, flip_kernel, precision, impl: Of the convolution `conv`.
      preferred_element_type: dtype of the result; by default that of `x`. float32 keeps what sums
        of half-precision products have been added up to.

    Returns:
      Cotangent of the kernel, of shape `kernel_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: (1) is in Bouvrie, "Notes on convolutional neural networks", 2006, and with strides in
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 9.5. The rest is derived here.

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
