"""Volumes of few channels: the taps along the depth become channels of a convolution in 2-D.

XLA computes a convolution in 3-D with the channels before the spatial axes. So it transposes every
map that comes in or goes out channels last, which are 3·(x + y) elements read and written where the
convolution itself needs x + y. In 2-D it transposes none. Collect what the R taps along the first
axis see,

    x'[(n,p); h,w; (r,c)] = x[n, s·p + d·r - lo, h, w, c]                                      (1)
    T = Σ x'[(n,p); h,w; (r,c)] k[r; …; c,o] y[(n,p); h,w; o]                                  (2)

and (2) is a form in 2-D, with examples n·p and R·c channels. (1) writes R/s times x, and (2) reads
it again. That is less if x has few channels, as the first layer of a network for volumes, or none
where R = 1. Where y has few, as in the last layer, x and y exchange their roles by (G').
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Dtypes, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._arrays import rotate_kernel
from ..shared._dtypes import accumulator
from ..shared._taps import MAX_TAPS, place_taps, taps
from ._even_padding import is_trivial


class Depth(Algorithm):
    """(2), whose convolution in 2-D is left to another algorithm."""

    name = "depth"
    remainder = Remainder.FOLDED

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y."""
        y = solve(Slot.OUTPUT, _flat(spec), _collect(x, spec.geometry), _flat_kernel(kernel))
        return _with_depth(y, x.shape[0])

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: what the taps saw is added up, each where it was."""
        inner, wide = _flat(spec), accumulator(spec.dtypes.x)
        if kernel.shape[0] > 1:  # the terms of a sum must not be rounded to half precision
            inner = inner.replace(dtypes=Dtypes(wide, wide, wide))
        seen = solve(Slot.INPUT, inner, _flat_kernel(kernel), _merged(y))
        parts = seen.reshape(*y.shape[:2], *seen.shape[1:-1], -1, kernel.shape[-2])
        x = place_taps(lambda r: lax.index_in_dim(parts, r, -2, keepdims=False), 0, spec.geometry)
        return x.astype(spec.dtypes.x)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k."""
        k = solve(Slot.KERNEL, _flat(spec), _collect(x, spec.geometry), _merged(y))
        return jnp.moveaxis(k.reshape(*k.shape[:2], -1, x.shape[-1], y.shape[-1]), 2, 0)

    def why_not(self, problem: Problem) -> str:
        """Why (2) does not hold; empty if it does."""
        geometry = problem.geometry
        if geometry.rank != 3:
            return "this is not a volume"
        if geometry.groups > 1:
            return "there are feature groups"
        if any(e > 1 for e in geometry.input_dilation):
            return "the input is dilated"
        if geometry.window[0] > MAX_TAPS:
            return f"there are more than {MAX_TAPS} taps to unroll"
        return ""

    def leaves(self, problem: Problem) -> Problem:
        """The convolution in 2-D."""
        depth = problem.geometry.spatial(0, 1)
        return problem._replace(
            geometry=problem.geometry.spatial(1),
            n=problem.n * depth.output_size[0],
            c=problem.c * depth.window[0],
        )

    def is_worth_it(self, problem: Problem) -> bool:
        """Whether (1) and (2) move less than 3-D, which transposes maps of several channels.

        In half precision an input gradient would widen its terms in memory. A kernel gradient then
        shares the transposed maps with the input gradient in 3-D.
        """
        geometry = problem.geometry
        is_half = accumulator(problem.dtype) != problem.dtype
        if is_half and problem.slot != Slot.OUTPUT and geometry.window[0] > 1:
            return False
        x = problem.c * math.prod(geometry.input_size)
        y = problem.o * math.prod(geometry.output_size)
        of_3d = (x if problem.c == 1 else 3 * x) + (y if problem.o == 1 else 3 * y)
        collected = x / geometry.input_size[0] * geometry.output_size[0] * geometry.window[0]
        moved = x + y + (0 if is_trivial(geometry.spatial(0, 1)) else 2 * collected)
        saved = problem.n * (of_3d - moved)
        return moved < _WORTH * of_3d and (problem.c > 1 or saved > _LAUNCH)


class DepthOfOutput(Depth):
    """The same with x and y exchanged, for windows without strides: y has the taps' channels."""

    name = "depth_of_output"

    def skips_zeros(self, dtype: np.dtype) -> bool:
        """Products with padding are cropped, and not added."""
        return True

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y."""
        return super().input_vjp(spec.transposed(), rotate_kernel(kernel), x, solve)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x."""
        return super().forward(spec.transposed(), y, rotate_kernel(kernel), solve)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k."""
        return rotate_kernel(super().kernel_vjp(spec.transposed(), y, x, solve))

    def why_not(self, problem: Problem) -> str:
        """Why x and y can't be exchanged in (2); empty if they can."""
        strided = any(s > 1 for s in problem.geometry.strides)
        return "there are strides" if strided else super().why_not(problem)

    def leaves(self, problem: Problem) -> Problem:
        """The convolution in 2-D."""
        return super().leaves(_exchanged(problem))

    def is_worth_it(self, problem: Problem) -> bool:
        """Whether it moves less than 3-D does."""
        return super().is_worth_it(_exchanged(problem))


# The part of the elements that 3-D moves below which the rearrangement is worth it, and how many
# fewer it has to be where no kernel is saved: what an H100 moves while it starts one.
_WORTH, _LAUNCH = 0.9, 1e6

_MIRRORED = {Slot.INPUT: Slot.OUTPUT, Slot.OUTPUT: Slot.INPUT, Slot.KERNEL: Slot.KERNEL}


def _exchanged(problem: Problem) -> Problem:
    return problem._replace(
        slot=_MIRRORED[problem.slot],
        geometry=problem.geometry.transposed(),
        c=problem.o,
        o=problem.c,
    )


def _flat(spec: ConvSpec) -> ConvSpec:
    return spec.replace(geometry=spec.geometry.spatial(1))


def _collect(x: Array, geometry: Geometry) -> Array:
    """x' of (1)."""
    n, *_, c = x.shape
    if is_trivial(geometry.spatial(0, 1)):
        return _merged(x)
    seen = jnp.stack(taps(x, 0, geometry), axis=-2)
    return seen.reshape(n * geometry.output_size[0], *x.shape[2:-1], geometry.window[0] * c)


def _flat_kernel(kernel: Kernel) -> Array:
    """`(d, h, w, c, o)` as `(h, w, d·c, o)`."""
    d, h, w, c, o = kernel.shape
    return jnp.moveaxis(kernel, 0, 2).reshape(h, w, d * c, o)


def _merged(a: Array) -> Array:
    """`(n, depth, …)` with the depth among the examples."""
    return a.reshape(-1, *a.shape[2:])


def _with_depth(a: Array, n: int) -> Array:
    """The inverse of `_merged`, for `n` examples."""
    return a.reshape(n, -1, *a.shape[1:])
