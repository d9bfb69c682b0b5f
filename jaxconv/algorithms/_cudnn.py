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
  - a kernel gradient with d > 1 and s = 1 is undilated in phases that count as examples, and one
    whose window, the output's small map, would be taken for a forward pass's is unstrided in phases
    that count as channels: the kernel shrinks by s, the map does not (`_phases.py`);
  - an input gradient with feature groups and s > 1 has no pattern, and goes by phases, too.

Before it looks for patterns, the compiler simplifies (`algebraic_simplifier.cc`): it folds a pad
with zeros back into the convolution that follows, removes two reversals in a row, and exchanges the
operands where the window is larger than the input. Where that would undo what is done here, an
optimization barrier stands between.

Padding that differs from side to side costs a copy, which XLA inserts. Half-precision operands give
a half-precision result at once: cuDNN accumulates in float32 and rounds where it writes.
"""

import math
from functools import partial
from typing import Any

from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, common_dtype, rotate_kernel
from ._dilated import undilated
from ._phases import fills_up, merged
from ._placing import place, spelled_out, take_back
from ._problem import Problem

# cuDNN convolves in one, two or three dimensions.
MAX_RANK = 3


def why_not(problem: Problem) -> str:
    """What keeps cuDNN from computing a corner; empty if nothing does."""
    if 1 <= problem.geometry.rank <= MAX_RANK:
        return ""
    return f"cuDNN convolves in 1 to {MAX_RANK} dimensions"


def cudnn_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: the convolution itself."""
    if is_transposed(geometry):
        # The gradient below turns the kernel again. Two reversals in a row would be removed, and
        # the pattern with them; the compiler does not look behind a barrier.
        turned = lax.optimization_barrier(rotate_kernel(kernel, geometry.groups))
        return cudnn_input_vjp(turned, x, **_mirrored(geometry, dtypes, precision))
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
        turned = rotate_kernel(kernel, geometry.groups)
        return cudnn_forward(y, turned, **_mirrored(geometry, dtypes, precision))
    sides, geometry = spelled_out(geometry)
    options = {"dtypes": dtypes, "precision": precision}
    if _is_strided(geometry) and geometry.groups > 1:
        solve = partial(_of_phases, _full_convolution, precision)
        x = merged("x", kernel, y, geometry=geometry, dtypes=dtypes, solve=solve)
        return take_back(x, sides)
    return take_back(_full_convolution(kernel, y, geometry, **options), sides)


def cudnn_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: examples summed over as channels are, by exchanging their names, not the arrays."""
    options = {"dtypes": dtypes, "precision": precision}
    if is_transposed(geometry) or _grows(geometry):
        turned = cudnn_kernel_vjp(y, x, **_mirrored(geometry, dtypes, precision))
        return rotate_kernel(turned, geometry.groups)
    sides, geometry = spelled_out(geometry)
    x = place(x, sides)
    if any(gap for *_, gap in sides):
        x = lax.optimization_barrier(x)  # lest the compiler makes it a base dilation again
    if _is_dilated(geometry):
        x, y, geometry = undilated(x, y, geometry)
    if _looks_forward(geometry):
        solve = partial(_of_phases, _correlate, precision)
        return merged("k", x, y, geometry=geometry, dtypes=dtypes, solve=solve)
    return _correlate(x, y, geometry, **options)


def _of_phases(corner, precision, slot, *operands, geometry, dtypes):
    """A corner as `merged` leaves it to be solved."""
    return corner(*operands, geometry, dtypes=dtypes, precision=precision)


def _mirrored(geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike) -> dict[str, Any]:
    """The static arguments of the mirror image, in which x and y have changed places."""
    return {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}


def fills_up_phases(problem: Problem) -> bool:
    """Whether a corner goes by phases, shorter ones among them that zero taps fill up."""
    geometry = problem.geometry
    by_phases = problem.slot == "x" and _is_strided(geometry) and geometry.groups > 1
    return by_phases and not is_transposed(geometry) and fills_up(problem)


def is_transposed(geometry: Geometry) -> bool:
    """Whether this is the mirror image of a strided convolution."""
    return set(geometry.strides) <= {1} and not set(geometry.input_dilation) <= {1}


def _grows(geometry: Geometry) -> bool:
    """Whether the output is larger than the input: a "window" larger than what it slides over.

    XLA exchanges the operands of such a convolution, and no pattern fits what comes out.
    """
    plain = set(geometry.strides) <= {1} and set(geometry.input_dilation) <= {1}
    return plain and math.prod(geometry.output_size) > math.prod(geometry.input_size)


def _is_strided(geometry: Geometry) -> bool:
    """Whether phases as channels would undo a stride."""
    return set(geometry.kernel_dilation) <= {1} and not set(geometry.strides) <= {1}


def _is_dilated(geometry: Geometry) -> bool:
    """Whether phases as examples would undo a kernel dilation."""
    dilated = [axis for axis in geometry.axes() if axis.d > 1]
    return bool(dilated) and all(axis.s == 1 for axis in dilated)


def _looks_forward(geometry: Geometry) -> bool:
    """Whether the map is no larger than the kernel, but larger than a phase of it."""
    between = (-(-axis.r // axis.s) < axis.p <= axis.r for axis in geometry.axes())
    return _is_strided(geometry) and all(between)


def _full_convolution(
    kernel: Array, y: Array, geometry: Geometry, *, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Array:
    """The data gradient's pattern; with feature groups, for which there is none, a forward pass."""
    turned, axes = lax.rev(kernel, range(geometry.rank)), "{}OI"
    if geometry.groups > 1:
        turned, axes = rotate_kernel(kernel, geometry.groups), "{}IO"
    return _convolve(
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


def _correlate(
    x: Array, y: Array, geometry: Geometry, *, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Array:
    """The filter gradient's pattern: examples and channels exchange names, the stride dilates."""
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
    common = common_dtype(a.dtype, b.dtype, dtype)
    out = lax.conv_general_dilated(
        a.astype(common),
        b.astype(common),
        window_strides or (1,) * rank,
        dimension_numbers=tuple(order.format(letters) for order in axes),
        precision=precision,
        **options,
    )
    return out.astype(dtype)
