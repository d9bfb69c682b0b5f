"""Convolution and its two gradients: the three corners of one trilinear form.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                          (T)

`conv` is ∂T/∂y, `conv_input_vjp` is ∂T/∂x and `conv_kernel_vjp` is ∂T/∂k. Each is bilinear, and the
two transposes of each are the other two, so these three functions are closed under differentiation.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import lowering
from .._geometry import Geometry, Padding, Size
from .._linear import Map, multilinear_form
from .._typing import AnyArray, Array
from ._call import Call, DimensionNumbers
from ._folding import fold_batch


def conv(
    x: AnyArray,
    kernel: AnyArray,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
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

    Args:
      x: Feature map `(n, *spatial, c)`.
      kernel: Kernel `(*window, c / feature_group_count, o)`, of the dtype of `x`.
      strides: Step s between windows; an int or one for each spatial axis.
      padding: `"VALID"` (none), `"SAME"` or `"SAME_LOWER"` (an output of ceil(size / stride); an
        odd rest goes high or low), `"FULL"` (every overlap), or explicit: one int, or one int or
        `(lo, hi)` pair for each axis. Negative values crop.
      input_dilation: Spacing e of the input's pixels, with zeros between them.
      kernel_dilation: Spacing d of the kernel's taps.
      feature_group_count: Number of groups into which both channel axes fall; group by group,
        outputs see only inputs of their own.
      dimension_numbers: Layouts of `x`, `kernel` and the result, as `jax.lax.conv_general_dilated`
        takes them; None means channels last, as above.
      flip_kernel: Turn the kernel by 180° first: a true convolution.
      precision: As for `jax.lax.conv_general_dilated`.
      preferred_element_type: dtype of the result; by default that of `x`. Sums of half-precision
        products are kept in float32 in any case.
      impl: None chooses an algorithm for platform and shape; `"textbook"` runs the formula of the
        derivation literally; `"lax"` is `jax.lax.conv_general_dilated` with autodiff's derivatives.

    Returns:
      Feature map `(n, *output, o)` with
      output = floor((e·(size-1) + 1 + lo + hi - d·(window-1) - 1) / s) + 1.

    Raises:
      ValueError: Ranks, channels or groups do not match, an option is out of range, or the window
        is larger than the padded input.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: (1) is the convolution of Dumoulin & Visin, "A guide to convolution arithmetic for deep
    learning", 2016, arXiv:1603.07285, with both dilations. (2) to (4) are derived here.

    >>> x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> conv(x, kernel, strides=2, padding="SAME").shape
    (2, 4, 4, 4)
    """
    call = Call("conv", dimension_numbers, flip_kernel, precision, preferred_element_type, impl)
    x, kernel = call.input("x", x), call.kernel("kernel", kernel)
    geometry = call.geometry(
        x.shape,
        kernel.shape,
        strides,
        padding,
        input_dilation,
        kernel_dilation,
        feature_group_count,
    )
    dtypes = call.dtypes(result="y", x=x, kernel=kernel)
    return call.to_output(_contract(call, "y", x, kernel, geometry=geometry, dtypes=dtypes))


def conv_input_vjp(
    y_bar: AnyArray,
    kernel: AnyArray,
    input_shape: tuple[int, ...],
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
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
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the same dtype.
      input_shape: Shape `(n, *spatial, c)` of the convolution's input; a strided convolution maps
        several sizes to one, so it cannot be inferred. strides, padding, input_dilation,
        kernel_dilation, feature_group_count, dimension_numbers, flip_kernel, precision, impl: Of
        the convolution `conv`.
      preferred_element_type: dtype of the result; by default that of `y_bar`.

    Returns:
      Cotangent of the input, of shape `input_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: derived here; for one stride and no dilation, M. Nielsen, "Neural Networks and Deep
    Learning", 2015, chapter 6, leaves it as a problem.

    >>> y_bar, kernel = jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 3, 4))
    >>> conv_input_vjp(y_bar, kernel, input_shape=(2, 8, 8, 3)).shape
    (2, 8, 8, 3)
    """
    name = "conv_input_vjp"
    call = Call(name, dimension_numbers, flip_kernel, precision, preferred_element_type, impl)
    y_bar, kernel = call.output("y_bar", y_bar), call.kernel("kernel", kernel)
    geometry = call.geometry(
        call.input_shape(input_shape),
        kernel.shape,
        strides,
        padding,
        input_dilation,
        kernel_dilation,
        feature_group_count,
        y_shape=y_bar.shape,
    )
    dtypes = call.dtypes(result="x", y_bar=y_bar, kernel=kernel)
    return call.to_input(_contract(call, "x", kernel, y_bar, geometry=geometry, dtypes=dtypes))


def conv_kernel_vjp(
    x: AnyArray,
    y_bar: AnyArray,
    kernel_shape: tuple[int, ...],
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
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
      y_bar: Cotangent of its output, `(n, *output, o)`, of the same dtype.
      kernel_shape: Shape `(*window, c / feature_group_count, o)` of its kernel. strides, padding,
        input_dilation, kernel_dilation, feature_group_count, dimension_numbers, flip_kernel,
        precision, impl: Of the convolution `conv`.
      preferred_element_type: dtype of the result; by default that of `x`.

    Returns:
      Cotangent of the kernel, of shape `kernel_shape`.

    Raises:
      ValueError: The shapes are not those of a convolution with these options.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: derived here.

    >>> x, y_bar = jnp.ones((2, 8, 8, 3)), jnp.ones((2, 6, 6, 4))
    >>> conv_kernel_vjp(x, y_bar, kernel_shape=(3, 3, 3, 4)).shape
    (3, 3, 3, 4)
    """
    name = "conv_kernel_vjp"
    call = Call(name, dimension_numbers, flip_kernel, precision, preferred_element_type, impl)
    x, y_bar = call.input("x", x), call.output("y_bar", y_bar)
    geometry = call.geometry(
        x.shape,
        call.kernel_shape(kernel_shape),
        strides,
        padding,
        input_dilation,
        kernel_dilation,
        feature_group_count,
        y_shape=y_bar.shape,
    )
    dtypes = call.dtypes(result="k", x=x, y_bar=y_bar)
    return call.to_kernel(_contract(call, "k", x, y_bar, geometry=geometry, dtypes=dtypes))


def rotate_kernel(kernel: AnyArray) -> Array:
    """Turn a kernel by 180° and exchange its channel axes.

        k_rot[r,o,c] = k[R-1-r, c, o]                                                          (1)

    The kernel with which `conv_input_vjp` convolves, see there for the reason. (1) permutes the
    elements, so it is its own inverse, and its transpose is (1) again.

    Args:
      kernel: Kernel `(*window, c, o)`.

    Returns:
      Kernel `(*window, o, c)`, of the same dtype.

    Raises:
      ValueError: `kernel` has fewer than two axes.

    Source: derived in `conv_input_vjp`.

    >>> rotate_kernel(jnp.arange(6.0).reshape(2, 3, 1, 1))[..., 0, 0]
    Array([[5., 4., 3.],
           [2., 1., 0.]], dtype=float32)
    """
    kernel = jnp.asarray(kernel)
    if kernel.ndim < 2:
        raise ValueError(
            f"rotate_kernel: kernel must be (*window, c, o), got shape {kernel.shape}."
        )
    return jnp.swapaxes(lax.rev(kernel, range(kernel.ndim - 2)), -2, -1)


# The three maps as the derivations write them. Equation numbers are those of the docstrings above.


def _forward(x, kernel, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    return _valid(_dilate_and_pad(x, geometry), kernel, geometry, precision)  # conv (1)


def _input_vjp(kernel, y, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    back = geometry.transposed()
    y_pad = _dilate_and_pad(y, back)
    groups = jnp.split(kernel, geometry.groups, axis=-1)
    k_rot = jnp.concatenate([rotate_kernel(group) for group in groups], axis=-1)
    return _valid(y_pad, k_rot, back, precision)  # conv_input_vjp (3)


def _kernel_vjp(x, y, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    across = replace(geometry.correlated(), groups=1)
    inputs = jnp.split(_dilate_and_pad(x, across), geometry.groups, axis=-1)
    errors = jnp.split(y, geometry.groups, axis=-1)
    gradients = []
    for x_pad, y_bar in zip(inputs, errors, strict=True):
        # Examples take the place of the channels that are summed over.
        k = _valid(jnp.swapaxes(x_pad, 0, -1), jnp.moveaxis(y_bar, 0, -2), across, precision)
        gradients.append(jnp.moveaxis(k, 0, -2))  # conv_kernel_vjp (1)
    return jnp.concatenate(gradients, axis=-1)


def _dilate_and_pad(x: Array, geometry: Geometry) -> Array:
    """Place the input on the line of (G): e-1 zeros between pixels, `lo` and `hi` around them."""
    spatial = zip(geometry.padding, geometry.input_dilation, strict=True)
    sides = [(0, 0, 0), *((lo, hi, e - 1) for (lo, hi), e in spatial), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _valid(x: Array, kernel: Array, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """The valid convolution Σ_r x[s·p + d·r] k[r], the one step that is left to lax."""
    axes = "".join(str(axis) for axis in range(geometry.rank))
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        "VALID",
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=geometry.groups,
        precision=precision,
    )


# The triangle: three primitives, and with them all six transposes.


def _result(slot, *operands, geometry: Geometry, dtypes, **_) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the slot that a corner leaves empty."""
    first, second = (operand.shape for operand in operands)
    x_dtype, k_dtype, y_dtype = dtypes
    if slot == "x":
        k, y = first, second
        shape = (y[0], *geometry.input_size, k[-2] * geometry.groups)
        return jax.ShapeDtypeStruct(shape, x_dtype)
    if slot == "k":
        x, y = first, second
        return jax.ShapeDtypeStruct((*geometry.window, x[-1] // geometry.groups, y[-1]), k_dtype)
    x, k = first, second
    return jax.ShapeDtypeStruct((x[0], *geometry.output_size, k[-1]), y_dtype)


_DEFINITIONS = {"x": _input_vjp, "k": _kernel_vjp, "y": _forward}


def _compiled_to(slot: str, platform: str) -> Map:
    """What a corner compiles to: its definition where the call asks for it, else an algorithm."""

    def lowered(*operands, geometry, dtypes, precision, impl):
        if impl != "textbook":
            return lowering.run(
                slot, platform, *operands, geometry=geometry, dtypes=dtypes, precision=precision
            )
        dtype = dtypes["xky".index(slot)]
        wide = lowering.accumulator(jnp.result_type(*operands, dtype))
        operands = [operand.astype(wide) for operand in operands]
        return _DEFINITIONS[slot](*operands, geometry=geometry, precision=precision).astype(dtype)

    return lowered


_TRIANGLE = multilinear_form(
    "jaxconv",
    {slot: _compiled_to(slot, "any") for slot in "xky"},
    result=_result,
    batch=fold_batch,
    lowerings={slot: {"cpu": _compiled_to(slot, "cpu")} for slot in "xky"},
)


def _contract(call: Call, slot: str, *operands: Array, geometry: Geometry, dtypes) -> Array:
    """Contract (T) over the operands' slots, with the operation or with plain lax."""
    params = {"geometry": geometry, "dtypes": dtypes, "precision": call.precision}
    if call.impl == "lax":
        return lowering.ALGORITHMS["direct"][slot](*operands, **params)
    return _TRIANGLE["xky".index(slot)](*operands, **params, impl=call.impl)
