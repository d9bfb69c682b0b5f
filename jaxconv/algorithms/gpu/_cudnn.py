"""Each contraction as the convolution that XLA's GPU compiler turns into its cuDNN routine.

cuDNN has three routines, one for each contraction: forward, data gradient and filter gradient. XLA
has one convolution, and guesses from its form which routine is meant. For a convolution with window
dilation w, base dilation b, stride t and low padding l it recognises (read from its source,
`xla/service/gpu/transforms/conv_rewriter.cc`, in newer versions `conv_kind_assignment.cc` with
`conv_utils.cc`):

  data gradient    one feature group, t = 1, w = 1, the kernel a literal reversal of all its spatial
                   axes, R-1-l >= 0. This is tried first. b becomes the routine's stride.
  filter gradient  one feature group (several batch groups are possible), t = 1, b = 1, l >= 0, and
                   a window larger than the output: on one axis if w > 1, on all of them if w = 1.
                   w becomes the routine's stride.
  forward          what is left, in up to three spatial dimensions. Base dilation is written out as
                   an array full of zeros (`conv_padding_legalization.cc`). So is window dilation
                   in versions that do not hand it on to cuDNN (openxla/xla#32231).

A gradient that misses its pattern is no error. It runs as a forward pass, over zeros or with a
window as large as a feature map, tens of times slower (jax#31662). So each contraction is first
brought to a form without input dilation and negative padding, and then written as the pattern needs
it. By (G),

    e·i + lo = s·p + d·r,

  - a transposed convolution, e > 1 and s = 1, is the *mirror image* of a strided one. Exchange x
    and y, rotate the kernel, and (G') of `Geometry.transposed` is (G) with e and s exchanged. Its
    filter gradient then dilates the window by e, not the input, so no zero is multiplied;
  - a kernel gradient with d > 1 and s = 1 is undilated: its phases become examples
    (`_undilated.py`), or on a line a second axis (`_reshaped.py`);
  - a kernel gradient whose window, the output's small map, would be taken for that of a forward
    pass is unstrided: its phases become channels. The kernel shrinks by s, the map does not;
  - an input gradient with s > 1 has no pattern if there are feature groups, or if the kernel is
    larger than the output's map. It goes by phases, too;
  - padding is made even (`_even_padding.py`).

Before it looks for patterns, the compiler simplifies (`algebraic_simplifier.cc`). It folds a pad
with zeros back into the convolution that follows, removes two reversals in a row, and exchanges the
operands where the window is larger than the input. Where that would undo what is done here, an
optimization barrier stands between. These are the only barriers in the programs for GPUs.

Operands in half precision give a result in half precision at once: cuDNN accumulates in float32 and
rounds where it writes.
"""

import math

from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem, problem_of
from ..shared._arrays import rotate_kernel
from ..shared._dtypes import common_dtype
from ..shared._padding import apply_dilation, pad_and_dilate, undo_pad_and_dilate
from ..shared._phases import fills_up, solve_by_phases
from ._even_padding import even_padding
from ._reshaped import reshaped
from ._undilated import undilated

# cuDNN convolves in one, two or three dimensions.
MAX_RANK = 3


class Cudnn(Algorithm):
    """The forms that XLA recognises."""

    name = "cudnn"
    finishes = frozenset({Remainder.FOLDED})

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """The contraction, in another shape of the arrays where that is faster."""
        form = reshaped(slot, spec.geometry)
        if form is None:
            return super().run(slot, spec, first, second, solve)
        a, b = (form.to_inner(s, x) for s, x in zip(slot.others, (first, second), strict=True))
        return form.from_inner(slot, self.run(slot, spec.replace(geometry=form.inner), a, b, solve))

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y: the convolution itself."""
        geometry = spec.geometry
        if is_transposed(geometry):
            # The gradient reverses the kernel again. The compiler would remove two reversals in a
            # row, and with them the pattern, but `rotate_kernel` reverses the taps as one axis.
            rotated = rotate_kernel(kernel, geometry.groups)
            return self.input_vjp(spec.transposed(), rotated, x, solve)
        sides, geometry = apply_dilation(geometry)
        x = pad_and_dilate(x, sides)
        spec = spec.replace(geometry=geometry)
        even = even_padding(problem_of(Slot.OUTPUT, (x.shape, kernel.shape), spec), is_forward=True)
        y = _convolve(
            x,
            kernel,
            ("N{}C", "{}IO", "N{}C"),
            spec.dtypes.y,
            spec.precision,
            window_strides=geometry.strides,
            padding=even.geometry.padding,
            rhs_dilation=geometry.kernel_dilation,
            feature_group_count=geometry.groups,
        )
        return even.without_positions(y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: the full convolution, the kernel reversed in place and its channels renamed."""
        if is_transposed(spec.geometry):
            rotated = rotate_kernel(kernel, spec.geometry.groups)
            return self.forward(spec.transposed(), y, rotated, solve)
        sides, geometry = apply_dilation(spec.geometry)
        spec = spec.replace(geometry=geometry)
        problem = problem_of(Slot.INPUT, (kernel.shape, y.shape), spec)
        is_forward = spec.forward == Slot.INPUT
        if _has_no_pattern(geometry) and not (is_forward and fills_up(problem)):
            x = solve_by_phases(Slot.INPUT, spec, kernel, y, _full_convolution, self.hints)
        else:
            even = even_padding(problem, is_forward=is_forward)
            kernel, y = even.with_taps(kernel), even.with_positions(y)
            x = _full_convolution(Slot.INPUT, spec.replace(geometry=even.geometry), kernel, y)
        return undo_pad_and_dilate(x, sides)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k: examples are summed over as channels are, by exchanging the names of axes."""
        geometry = spec.geometry
        if is_transposed(geometry) or _grows(geometry):
            return rotate_kernel(self.kernel_vjp(spec.transposed(), y, x, solve), geometry.groups)
        sides, geometry = apply_dilation(geometry)
        x = pad_and_dilate(x, sides)
        if any(gap for *_, gap in sides):
            # Without a barrier the compiler would make the pad a base dilation again.
            x = lax.optimization_barrier(x)
        if _is_dilated(geometry):
            x, y, geometry = undilated(x, y, geometry)
        spec = spec.replace(geometry=geometry)
        if _looks_forward(geometry):
            return solve_by_phases(Slot.KERNEL, spec, x, y, _correlate, self.hints)
        even = even_padding(problem_of(Slot.KERNEL, (x.shape, y.shape), spec), is_forward=False)
        spec = spec.replace(geometry=even.geometry)
        return even.without_taps(_correlate(Slot.KERNEL, spec, x, even.with_positions(y)))

    def why_not(self, problem: Problem) -> str:
        """Why cuDNN can't compute it; empty if it can."""
        if 1 <= problem.geometry.rank <= MAX_RANK:
            return ""
        return f"cuDNN convolves in 1 to {MAX_RANK} dimensions"


def is_transposed(geometry: Geometry) -> bool:
    """Whether this is the mirror image of a strided convolution."""
    return set(geometry.strides) <= {1} and not set(geometry.input_dilation) <= {1}


def _grows(geometry: Geometry) -> bool:
    """Whether the output is larger than the input: a "window" larger than what it slides over.

    XLA exchanges the operands of such a convolution, and no pattern fits the result.
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


def _has_no_pattern(geometry: Geometry) -> bool:
    """Whether a strided input gradient has to be unstrided to be a pattern of the compiler's.

    It has none for feature groups. Where the kernel is larger than the map of the output, the
    compiler exchanges the two, and the input gradient becomes a forward pass over zeros.
    """
    exchanged = math.prod(geometry.window) > math.prod(geometry.output_size)
    return _is_strided(geometry) and (geometry.groups > 1 or exchanged)


def _looks_forward(geometry: Geometry) -> bool:
    """Whether the map is no larger than the kernel, but larger than a phase of it."""
    between = (-(-axis.r // axis.s) < axis.p <= axis.r for axis in geometry.axes())
    return _is_strided(geometry) and all(between)


def _full_convolution(slot: Slot, spec: ConvSpec, kernel: Array, y: Array) -> Array:
    """The data gradient's pattern. There is none for feature groups, which take a forward pass."""
    geometry = spec.geometry
    reversed_kernel, axes = lax.rev(kernel, range(geometry.rank)), "{}OI"
    if geometry.groups > 1:
        reversed_kernel, axes = rotate_kernel(kernel, geometry.groups), "{}IO"
    return _convolve(
        y,
        reversed_kernel,
        ("N{}C", axes, "N{}C"),
        spec.dtypes.x,
        spec.precision,
        padding=geometry.transposed().padding,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.kernel_dilation,
        feature_group_count=geometry.groups,
    )


def _correlate(slot: Slot, spec: ConvSpec, x: Array, y: Array) -> Array:
    """The filter gradient's pattern: examples and channels exchange names, the stride dilates."""
    geometry = spec.geometry
    return _convolve(
        x,
        y,
        ("C{}N", "I{}O", "{}NC"),
        spec.dtypes.k,
        spec.precision,
        window_strides=geometry.kernel_dilation,
        padding=geometry.correlated().padding,
        rhs_dilation=geometry.strides,
        batch_group_count=geometry.groups,
    )


def _convolve(a, b, axes, dtype, precision, *, window_strides=None, **options) -> Array:
    """`lax.conv_general_dilated`, with `{}` in `axes` for the spatial ones."""
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
