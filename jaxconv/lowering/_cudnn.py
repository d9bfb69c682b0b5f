"""Each corner as the convolution that XLA's GPU compiler turns into the cuDNN routine made for it.

cuDNN has three routines, one for each corner: forward, data gradient and filter gradient. XLA knows
one convolution, and guesses from its form which routine is meant. What it recognises, of a
convolution with window dilation w, base dilation b, stride t and low padding l (read from its
source, `xla/service/gpu/transforms/conv_rewriter.cc`, in newer versions `conv_kind_assignment.cc`
with `conv_utils.cc`):

  data gradient    one feature group, t = 1, w = 1, the kernel a literal reversal of all its spatial
                   axes, R-1-l >= 0. Tried first; b becomes the routine's stride.
  filter gradient  one feature group (several batch groups are welcome), t = 1, b = 1, l >= 0, and
                   a window larger than the output: on one axis if w > 1, on all of them if w = 1.
                   w becomes the routine's stride.
  forward          what is left, in up to three spatial dimensions. Base dilation is spelled out as
                   an array full of zeros (`conv_padding_legalization.cc`); window dilation is, too,
                   in versions that do not hand it on to cuDNN (openxla/xla#32231).

A gradient that misses its pattern is no error: it runs forward, over zeros or with a window as
large as a feature map, tens of times slower (jax#31662). So each corner is first brought to a form
without input dilation and negative padding, and then written as the pattern wants it. By (G),

    e·i + lo = s·p + d·r,

  - a transposed convolution, e > 1 and s = 1, is the *mirror image* of a strided one: exchange x
    and y, turn the kernel, and (G') of `Geometry.transposed` is (G) with e and s exchanged. Its
    filter gradient then dilates the window by e, not the input: no zero is ever multiplied;
  - a kernel gradient with d > 1 and s = 1 sees, with each residue of p modulo d, pixels of the same
    residue alone. These *phases* are examples like any others: sum over n·|d| of them, undilated;
  - a kernel gradient whose window, the output's map, is no larger than the kernel would be taken
    for a forward pass. Make the phases of i modulo s channels: the kernel shrinks by s, not the
    map.

Padding that differs from side to side costs a copy, which XLA inserts. Half-precision operands give
a half-precision result at once: cuDNN accumulates in float32 and rounds where it writes.
"""

import math
from dataclasses import replace

from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, rotated, widest
from ._placing import (
    join,
    phases_as_channels,
    phases_as_examples,
    place,
    spelled_out,
    take_back,
)


def cudnn_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: the convolution itself."""
    if is_transposed(geometry):
        # The gradient below turns the kernel again. Two reversals in a row would be removed, and
        # the pattern with them; the compiler does not look behind a barrier.
        turned = lax.optimization_barrier(rotated(kernel, geometry.groups))
        back = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return cudnn_input_vjp(turned, x, **back)
    sides, geometry = spelled_out(geometry)
    return _convolve(
        place(x, sides),
        kernel,
        ("N{}C", "{}IO", "N{}C"),
        dtypes[2],
        precision,
        window_strides=geometry.strides,
        padding=geometry.padding,
        rhs_dilation=geometry.kernel_dilation,
        feature_group_count=geometry.groups,
    )


def cudnn_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the full convolution, the kernel reversed in place and its channels renamed."""
    if is_transposed(geometry):
        mirror = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return cudnn_forward(y, rotated(kernel, geometry.groups), **mirror)
    sides, geometry = spelled_out(geometry)
    turned, axes = lax.rev(kernel, range(geometry.rank)), "{}OI"
    if geometry.groups > 1:
        turned, axes = rotated(kernel, geometry.groups), "{}IO"
    x = _convolve(
        y,
        turned,
        ("N{}C", axes, "N{}C"),
        dtypes[0],
        precision,
        padding=geometry.transposed().padding,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.kernel_dilation,
        feature_group_count=geometry.groups,
    )
    return take_back(x, sides)


def cudnn_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: examples summed over as channels are, by exchanging their names, not the arrays."""
    options = {"dtypes": dtypes, "precision": precision}
    if is_transposed(geometry) or _grows(geometry):
        mirror = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return rotated(cudnn_kernel_vjp(y, x, **mirror), geometry.groups)
    sides, geometry = spelled_out(geometry)
    x = place(x, sides)
    if any(gap for *_, gap in sides):
        x = lax.optimization_barrier(x)  # lest the compiler makes it a base dilation again
    if _is_dilated(geometry):
        x, y, geometry = _dilated_phases_as_examples(x, y, geometry)
    if _looks_forward(geometry):
        x, strided = _strided_phases_as_channels(x, geometry)
        k = _correlate(x, y, strided, **options)
        return _from_phases(k, geometry)
    return _correlate(x, y, geometry, **options)


def is_transposed(geometry: Geometry) -> bool:
    """Whether this is the mirror image of a strided convolution."""
    return set(geometry.strides) <= {1} and not set(geometry.input_dilation) <= {1}


def _grows(geometry: Geometry) -> bool:
    """Whether the output is larger than the input: a "window" larger than what it slides over.

    XLA exchanges the operands of such a convolution, and no pattern fits what comes out.
    """
    plain = set(geometry.strides) <= {1} and set(geometry.input_dilation) <= {1}
    return plain and math.prod(geometry.output_size) > math.prod(geometry.input_size)


def _is_dilated(geometry: Geometry) -> bool:
    dilated = [axis for axis in geometry.axes() if axis.d > 1]
    return bool(dilated) and all(axis.s == 1 for axis in dilated)


def _looks_forward(geometry: Geometry) -> bool:
    """Whether a strided kernel gradient has a small map, and phases as channels would help."""
    plain = geometry.groups == 1 and set(geometry.kernel_dilation) <= {1}
    small = all(axis.p <= axis.r for axis in geometry.axes())
    return plain and small and all(axis.p > -(-axis.r // axis.s) for axis in geometry.axes())


def _dilated_phases_as_examples(
    x: Array, y: Array, geometry: Geometry
) -> tuple[Array, Array, Geometry]:
    """Σ_np x[n, p + d·r - lo] y[n, p] for p = d·q + φ, with n and φ counted together."""
    x_sides, y_sides, padding, inputs, outputs = [], [], [], [], []
    for (i, r, p, _, lo, _, d), sides in zip(geometry.axes(), geometry.padding, strict=True):
        maps = -(-p // d)
        pixels = maps + r - 1 if d > 1 else i
        x_sides.append((lo, d * pixels - lo - i, 0) if d > 1 else (0, 0, 0))
        y_sides.append((0, d * maps - p, 0))
        padding.append((0, 0) if d > 1 else sides)
        inputs.append(pixels)
        outputs.append(maps)
    d = geometry.kernel_dilation
    undilated = replace(
        geometry,
        input_size=tuple(inputs),
        output_size=tuple(outputs),
        padding=tuple(padding),
        kernel_dilation=(1,) * geometry.rank,
    )
    x_phases = phases_as_examples(place(x, x_sides), d)
    return x_phases, phases_as_examples(place(y, y_sides), d), undilated


def _strided_phases_as_channels(x: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """Σ_np x[n, s·p + r - lo] y[n, p] for r = s·q + φ, with φ and c counted together."""
    s = geometry.strides
    window = tuple(-(-axis.r // axis.s) for axis in geometry.axes())
    inputs = tuple(p + q - 1 for p, q in zip(geometry.output_size, window, strict=True))
    sides = [
        (axis.lo, axis.s * size - axis.lo - axis.i, 0)
        for axis, size in zip(geometry.axes(), inputs, strict=True)
    ]
    once, none = (1,) * geometry.rank, ((0, 0),) * geometry.rank
    whole = replace(geometry, input_size=inputs, window=window, strides=once, padding=none)
    return phases_as_channels(place(x, sides), s), whole


def _from_phases(k: Array, geometry: Geometry) -> Array:
    """`(*q, |s|·c, o)`, the kernel by phases, back to `(*window, c, o)`."""
    *window, channels, o = k.shape
    c = channels // math.prod(geometry.strides)
    whole = join(k.reshape(1, *window, *geometry.strides, c * o))[0]
    taps = lax.slice(whole, (0,) * whole.ndim, (*geometry.window, c * o))
    return taps.reshape(*geometry.window, c, o)


def _correlate(
    x: Array, y: Array, geometry: Geometry, *, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Array:
    return _convolve(
        x,
        y,
        ("C{}N", "I{}O", "{}NC"),
        dtypes[1],
        precision,
        window_strides=geometry.kernel_dilation,
        padding=geometry.correlated().padding,
        rhs_dilation=geometry.strides,
        batch_group_count=geometry.groups,
    )


def _convolve(a, b, axes, dtype, precision, *, window_strides=None, **options):
    """`lax.conv_general_dilated` with `{}` in `axes` for the spatial ones."""
    rank = a.ndim - 2
    letters = "012"[:rank]
    common = widest(a, b, dtype)
    out = lax.conv_general_dilated(
        a.astype(common),
        b.astype(common),
        window_strides or (1,) * rank,
        dimension_numbers=tuple(order.format(letters) for order in axes),
        precision=precision,
        **options,
    )
    return out.astype(dtype)
