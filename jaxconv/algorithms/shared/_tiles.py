"""Windows that do not overlap: each contraction is one matrix product over patches.

With stride s >= R, every element of the input is seen by at most one window. What a window sees is
a row of a matrix that repeats nothing: cut each axis into blocks of s and keep the first R of each.

    P[(n,p), (r,c)] = x[n, s·p + r - lo, c]          K[(r,c), o] = k[r,c,o]
    y = P K,          P_bar = y_bar Kᵀ,          K_bar = Pᵀ y_bar                              (1)

A 1×1 convolution, strided or not, is the case R = 1. The patch embedding of a vision transformer is
the case s = R. Some backends choose a convolution's implementation by its window's size. They take
the kernel gradient of such a layer, whose "window" is the output's small map, for a forward pass
(jax#23085).

Takes 2·n·|P|·|R|·c·o operations and one pass over the arrays. Where s > R, the elements that no
window sees are never multiplied.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder
from .._problem import Problem
from ._padding import from_phases, pad_and_dilate, to_phases, undo_pad_and_dilate


class Tiles(Algorithm):
    """(1), whose matrix product is left to another algorithm."""

    name = "tiles"
    remainder = Remainder.FOLDED

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Callable) -> Output:
        """∂T/∂y: patches times kernel."""
        patches = self._patches(x, spec.geometry)
        y = solve(Slot.OUTPUT, _product(spec), patches, _matrix(kernel))
        return y.reshape(x.shape[0], *spec.geometry.output_size, kernel.shape[-1])

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Callable) -> Input:
        """∂T/∂x: y times the transposed kernel, each row placed where its patch was."""
        geometry = spec.geometry
        patches = solve(Slot.INPUT, _product(spec), _matrix(kernel), _matrix(y))
        blocks = patches.reshape(
            y.shape[0], *geometry.output_size, *geometry.window, kernel.shape[-2]
        )
        if geometry.window != geometry.strides:
            unseen = [(0, s - r, 0) for r, s in zip(geometry.window, geometry.strides, strict=True)]
            sides = [*[(0, 0, 0)] * (geometry.rank + 1), *unseen, (0, 0, 0)]
            blocks = lax.pad(blocks, jnp.zeros((), blocks.dtype), sides)
        return undo_pad_and_dilate(from_phases(blocks), _to_whole_blocks(geometry))

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Callable) -> Kernel:
        """∂T/∂k: transposed patches times y."""
        patches = self._patches(x, spec.geometry)
        k = solve(Slot.KERNEL, _product(spec), patches, _matrix(y))
        return k.reshape(*spec.geometry.window, x.shape[-1], y.shape[-1])

    def why_not(self, problem: Problem) -> str:
        """Why (1) does not hold; empty if it does."""
        geometry = problem.geometry
        if not geometry.rank:
            return "there is no spatial axis"
        if not all(a.r == 1 or (a.r <= a.s and a.d == 1) for a in geometry.axes()):
            return "windows overlap or are dilated"
        if geometry.groups > 1:
            return "there are feature groups"
        return "the input is dilated" if any(e > 1 for e in geometry.input_dilation) else ""

    def leaves(self, problem: Problem) -> Problem:
        """The matrix product of (1)."""
        _, geometry, n, c, *_ = problem
        rows, columns = n * math.prod(geometry.output_size), c * math.prod(geometry.window)
        return problem._replace(geometry=_without_axes(geometry), n=rows, c=columns)

    def _patches(self, x: Array, geometry: Geometry) -> Array:
        """P of (1), `(n·|P|, |R|·c)`."""
        rank = geometry.rank
        blocks = to_phases(pad_and_dilate(x, _to_whole_blocks(geometry)), geometry.strides)
        columns = math.prod(geometry.window) * x.shape[-1]
        if geometry.window != geometry.strides:
            ends = (*blocks.shape[: rank + 1], *geometry.window, x.shape[-1])
            blocks = lax.slice(blocks, (0,) * blocks.ndim, ends)
        if set(geometry.strides) == {1}:
            return blocks.reshape(-1, columns)
        return self.hints.row_major(blocks).reshape(-1, columns)


def _without_axes(geometry: Geometry) -> Geometry:
    return geometry.spatial(geometry.rank)


def _product(spec: ConvSpec) -> ConvSpec:
    """The description of the matrix product."""
    return spec.replace(geometry=_without_axes(spec.geometry))


def _to_whole_blocks(geometry: Geometry) -> list[tuple[int, int, int]]:
    """The padding, or cropping, after which each axis is one block of s for each window."""
    return [(axis.lo, axis.s * axis.p - axis.lo - axis.i, 0) for axis in geometry.axes()]


def _matrix(a: Array) -> Array:
    """An array with all axes but the last one as rows."""
    return a.reshape(-1, a.shape[-1])
