"""Windows that do not overlap: each corner is one matrix product over patches.

With stride s >= R every pixel is seen by at most one window, and what a window sees is a row of a
matrix that needs no copies of pixels: cut each axis into blocks of s and keep the first R of each.

    P[(n,p), (r,c)] = x[n, s·p + r - lo, c]          K[(r,c), o] = k[r,c,o]
    y = P K,          P_bar = y_bar Kᵀ,          K_bar = Pᵀ y_bar                              (1)

A 1×1 convolution, strided or not, is the case R = 1; the patch embedding of a vision transformer
the case s = R. Backends that know a convolution by its window's size take the kernel gradient of
such a layer, whose "window" is the output's small map, for a forward pass (jax#23085).

Cost: 2·n·|P|·|R|·c·o operations and one pass over the arrays; more blocks than windows see, where
s > R, are never multiplied.
"""

import math
from collections.abc import Callable

from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes
from ._placing import join, place, split, take_back
from ._problem import Problem
from ._row_major import row_major


def why_not(problem: Problem) -> str:
    """What keeps windows from being tiles; empty if (1) holds."""
    geometry = problem.geometry
    if not geometry.rank:
        return "there is no spatial axis"
    if not all(r == 1 or (r <= s and d == 1) for _, r, _, s, _, _, d in geometry.axes()):
        return "windows overlap or are dilated"
    if geometry.groups > 1:
        return "there are feature groups"
    return "the input is dilated" if any(e > 1 for e in geometry.input_dilation) else ""


def leaves(problem: Problem) -> Problem:
    """The matrix product of (1), a corner without spatial axes."""
    slot, geometry, n, c, o = problem
    rows, columns = n * math.prod(geometry.output_size), c * math.prod(geometry.window)
    return Problem(slot, geometry.spatial(geometry.rank), rows, columns, o)


def tile_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Output:
    """∂T/∂y: patches times kernel."""
    inner = geometry.spatial(geometry.rank)
    y = solve("y", _patches(x, geometry), _matrix(kernel), geometry=inner, dtypes=dtypes)
    return y.reshape(x.shape[0], *geometry.output_size, kernel.shape[-1])


def tile_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Input:
    """∂T/∂x: errors times the transposed kernel, each row laid down where its patch was."""
    inner = geometry.spatial(geometry.rank)
    patches = solve("x", _matrix(kernel), _rows(y), geometry=inner, dtypes=dtypes)
    window = (*geometry.window, kernel.shape[-2])
    blocks = patches.reshape(y.shape[0], *geometry.output_size, *window)
    unseen = [(0, s - r, 0) for r, s in zip(geometry.window, geometry.strides, strict=True)]
    behind = [(0, 0, 0)] * (geometry.rank + 1)
    blocks = lax.pad(blocks, lax.full((), 0, blocks.dtype), [*behind, *unseen, (0, 0, 0)])
    return take_back(join(blocks), _to_whole_blocks(geometry))


def tile_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Kernel:
    """∂T/∂k: transposed patches times errors."""
    inner = geometry.spatial(geometry.rank)
    k = solve("k", _patches(x, geometry), _rows(y), geometry=inner, dtypes=dtypes)
    return k.reshape(*geometry.window, x.shape[-1], y.shape[-1])


def _patches(x: Array, geometry: Geometry) -> Array:
    """P of (1), `(n·|P|, |R|·c)`."""
    rank = geometry.rank
    blocks = split(place(x, _to_whole_blocks(geometry)), geometry.strides)
    starts = (0,) * blocks.ndim
    ends = (*blocks.shape[: rank + 1], *geometry.window, x.shape[-1])
    return row_major(lax.slice(blocks, starts, ends)).reshape(-1, math.prod(ends[rank + 1 :]))


def _to_whole_blocks(geometry: Geometry) -> list[tuple[int, int, int]]:
    """Padding, or cropping, after which each axis is one block of s for each window."""
    return [(lo, s * p - lo - i, 0) for i, _, p, s, lo, _, _ in geometry.axes()]


def _matrix(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _rows(y: Array) -> Array:
    return y.reshape(-1, y.shape[-1])
