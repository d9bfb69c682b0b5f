"""oneDNN's convolution, which is part of jaxlib's CPU library, as a custom call.

oneDNN has a kernel in machine code for most convolutions. XLA calls it in the same way wherever the
convolution stands: at top level, in a loop or in a branch. By comparison XLA's own convolution of
feature groups, of three axes, and of examples with few channels is far from a matrix product's
rate.

oneDNN computes forward passes only:

    y = conv(x, k)                                                                             (1)
    x_bar = conv(y_bar, k_rot),     the forward pass of the transposed geometry                (2)

It knows no negative padding, so the operand is cropped before. It knows no input dilation either,
which is left to `phases`. A kernel gradient would be a window as large as a map, for which oneDNN
has a reference loop only, a thousand times as slow as its kernels.

It is called in float32, also for operands in half precision. Of random convolutions in bfloat16
some were wrong, and some ended the process (jaxlib 0.12.0.1, AVX-512). One in float16 ends it on
processors without AVX512-FP16.

Takes 2·n·|P|·|R|·c·o/g operations.
"""

import math

import numpy as np

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Input, Kernel, Output
from .._algorithm import Algorithm, Remainder
from .._problem import Problem
from ..shared._arrays import rotate_kernel
from ..shared._direct import as_forward
from ..shared._dtypes import accumulator, to_accumulator
from ..shared._padding import apply_cropping, pad_and_dilate
from ._hints import HINTS
from ._onednn_call import MAX_RANK, convolve
from ._onednn_support import why_not_supported
from ._rates import LAUNCH, STREAMED, thin

# By how much an operation takes longer than one of a matrix product: in a convolution, and in a
# depthwise layer.
_CONVOLUTION, _DEPTHWISE = 0.85, 4.0
# The patch size that halves the speed.
_HALF_SPEED = 8


def _windows_meet_the_input(geometry: Geometry) -> bool:
    """Whether no window is larger than the map, and each has a tap on it.

    Kernels of jaxlib 0.10 for depthwise layers write beyond their arrays if one has none.
    """
    _, geometry = apply_cropping(geometry)
    reaches = (axis.d * (axis.r - 1) for axis in geometry.axes())
    return all(
        max(pads) <= reach < axis.i
        for axis, pads, reach in zip(geometry.axes(), geometry.padding, reaches, strict=True)
    )


def _is_misread(geometry: Geometry, c: int) -> bool:
    """Whether oneDNN may leave the output unwritten: one channel, and an axis of one output.

    Seen with strides along the last axis. All axes are refused, as sizes of one are what it
    confuses.
    """
    return c == 1 and geometry.rank > 1 and 1 in geometry.output_size


class OneDnn(Algorithm):
    """(1) and (2)."""

    name = "onednn"
    slots = (Slot.OUTPUT, Slot.INPUT)
    finishes = frozenset(Remainder)
    hints = HINTS

    def skips_zeros(self, dtype: np.dtype) -> bool:
        """oneDNN skips them in every dtype."""
        return True

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve) -> Output:
        """∂T/∂y: (1)."""
        sides, geometry = apply_cropping(spec.geometry)
        x, kernel = to_accumulator(spec.dtypes.y, pad_and_dilate(x, sides), kernel)
        return convolve(x, kernel, geometry).astype(spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve) -> Input:
        """∂T/∂x: (2)."""
        rotated = rotate_kernel(kernel, spec.geometry.groups, hints=self.hints)
        return self.forward(spec.transposed(), y, rotated, solve)

    def why_not(self, problem: Problem) -> str:
        """Why oneDNN can't compute it here; empty if it can."""
        if not 1 <= problem.geometry.rank <= MAX_RANK:
            return f"oneDNN convolves in 1 to {MAX_RANK} dimensions"
        if 0 in problem.sizes or not math.prod(as_forward(*problem[:2]).output_size):
            return "there is nothing to compute"
        if max(as_forward(*problem[:2]).input_dilation) > 1:
            return "oneDNN does not dilate the input"
        if not _windows_meet_the_input(as_forward(*problem[:2])):
            return "a window sees only padding or is larger than the map, and oneDNN may overrun it"
        channels = problem.o if problem.slot == Slot.INPUT else problem.c
        if _is_misread(as_forward(*problem[:2]), channels):
            return "oneDNN may not compute one channel with one output along an axis"
        if accumulator(problem.dtype) != np.float32:
            return "oneDNN is called in float32 only"
        return why_not_supported()

    def cost(self, problem: Problem) -> float:
        """The products of each group, or a pass over both maps where that takes longer."""
        slot, geometry, n, c, o, _ = problem
        if slot == Slot.INPUT:
            geometry, c, o = geometry.transposed(), o, c
        groups, taps = geometry.groups, math.prod(geometry.window)
        elements = n * math.prod(geometry.input_size) * c
        moved = elements + n * math.prod(geometry.output_size) * o
        operations = 2.0 * n * math.prod(geometry.output_size) * taps * c * o / groups
        if groups > 1 and c == groups:  # there is no sum over channels
            product = _DEPTHWISE * operations
        else:
            product = operations * thin(c / groups * taps, _HALF_SPEED) * thin(o / groups)
        return LAUNCH + max(_CONVOLUTION * product, STREAMED * moved)
