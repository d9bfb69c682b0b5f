"""Few channels: rows cut into strips, each strip a row of a matrix product with a banded kernel.

With one input channel a window has too few numbers to fill a matrix product. Take S neighbouring
outputs of a row, a strip, at once: together they see S+R-1 pixels of each row of their windows, and

    y[p, S·t + a, o] = Σ x[p + r, S·t + j, c] band[r,j,c, a,o]    over r, j < S+R-1 and c
    band[r,j,c, a,o] = k[r, j-a, c, o]    where 0 <= j-a < R, else 0                           (1)

The band holds S shifted copies of the kernel's rows, a Toeplitz matrix. The sizes of the product
grow from |R|·c and o to |R|·(S+R-1)/R·c and S·o, for (S+R-1)/R times as many operations as needed.

The zeros of the band meet numbers, too. In the input gradient an infinity or NaN in the error
therefore reaches all pixels that its strip sees, up to S-1 beyond its window on either side. In the
kernel gradient one in x or y reaches all taps of its rows.

Needs stride 1 and no dilation on the last axis, S a divisor of its output size, no input dilation
and one feature group. Holds |R|·(S+R-1)/(R·S) copies of x. Wins for c <= 4 or so.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, add_up, to_accumulator
from ._problem import Problem
from ._row_major import row_major
from ._sliding import MAX_TAPS, all_taps, pad, padded, place_all_taps, shifted_copies, stacked_taps


def why_not(problem: Problem) -> str:
    """What keeps rows from being cut into strips; empty if nothing does."""
    geometry = problem.geometry
    if not geometry.rank or geometry.groups > 1:
        return "there are feature groups or no spatial axis"
    if any(e > 1 for e in geometry.input_dilation):
        return "the input is dilated"
    if geometry.strides[-1] > 1 or geometry.kernel_dilation[-1] > 1:
        return "the last axis has a stride or dilation"
    if math.prod(geometry.window[:-1]) > MAX_TAPS:
        return f"there are more than {MAX_TAPS} taps to unroll"
    return "" if strip_length(geometry) else "no length of strip divides the rows of the output"


def leaves(problem: Problem) -> Problem | None:
    """The product that a kernel gradient leaves; the input gradient leaves nothing."""
    slot, geometry, n, c, o = problem
    if slot != "k":
        return None
    strip, row = strip_length(geometry), geometry.window[-1]
    rows = n * math.prod(geometry.output_size) // strip
    seen = math.prod(geometry.window[:-1]) * (strip + row - 1) * c
    return Problem("k", geometry.spatial(geometry.rank), rows, seen, strip * o)


def strip_length(geometry: Geometry) -> int:
    """S: the divisor of the last output size nearest to a window's row; 0 where there is none."""
    size, row = geometry.output_size[-1], geometry.window[-1]
    divisors = (s for s in range(2, min(size, 4 * row) + 1) if size % s == 0)
    return min(divisors, key=lambda s: (abs(s - row), s), default=0)


def strip_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Kernel:
    """∂T/∂k: the band's gradient is one product; the kernel's is the sum over its diagonals."""
    x, y = to_accumulator(dtypes[1], x, y)
    wide = (x.dtype,) * 3
    c, o = x.shape[-1], y.shape[-1]
    strip, row = strip_length(geometry), geometry.window[-1]
    patches = _patches(x, geometry)
    rows = patches.reshape(-1, math.prod(patches.shape[-2:])), y.reshape(-1, strip * o)
    band = solve("k", *rows, geometry=geometry.spatial(geometry.rank), dtypes=wide)
    band = band.reshape(-1, strip + row - 1, c, strip, o)
    k = add_up(band[:, a : a + row, :, a] for a in range(strip))  # (1)
    return k.reshape(*geometry.window, c, o).astype(dtypes[1])


def strip_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: one product with the transposed band, its rows and columns added where they lie."""
    kernel, y = to_accumulator(dtypes[0], kernel, y)
    c, o = kernel.shape[-2:]
    n, *outer, size, _ = y.shape
    strip, row = strip_length(geometry), geometry.window[-1]
    blocks = _blocks(geometry)
    taps = kernel.reshape(-1, row, c, o)
    band = shifted_copies(pad(taps, 0, 0, blocks * strip + 1 - row), 0, strip, -1)  # (1)
    over_outputs = (((1,), (1,)), ((), ()))
    patches = lax.dot_general(
        y.reshape(-1, strip * o),
        jnp.moveaxis(band, 1, -2).reshape(-1, strip * o),
        over_outputs,
        precision=precision,
    )
    patches = patches.reshape(n, *outer, size // strip, len(taps), blocks, strip * c)
    last = geometry.rank - 1
    outer = geometry.spatial(0, last)
    rows = lax.optimization_barrier(
        place_all_taps(lambda number: lax.index_in_dim(patches, number, -3, keepdims=False), outer)
    )
    strips = add_up(
        pad(lax.index_in_dim(rows, b, -2, keepdims=False), last, b, blocks - 1 - b)
        for b in range(blocks)
    )
    columns = strips.reshape(*strips.shape[:-2], -1, c)
    lo, size = geometry.padding[last][0], geometry.input_size[last]
    columns = pad(columns, last, -lo, size + lo - columns.shape[-2])
    return columns.astype(dtypes[0])


def _blocks(geometry: Geometry) -> int:
    """How many strips the columns seen by one strip reach into."""
    strip = strip_length(geometry)
    return -(-(strip + geometry.window[-1] - 1) // strip)


def _patches(x: Array, geometry: Geometry) -> Array:
    """What each strip sees: `(n, *output, strips, taps, columns·c)`."""
    c = x.shape[-1]
    strip, blocks = strip_length(geometry), _blocks(geometry)
    strips = geometry.output_size[-1] // strip
    last = geometry.rank - 1
    lo, size = geometry.padding[last][0], geometry.input_size[last]
    x, outer = padded(x, geometry.spatial(0, last))
    x = pad(x, last, lo, (strips + blocks - 1) * strip - lo - size)
    x = x.reshape(*x.shape[:-2], strips + blocks - 1, strip, c)
    seen = [lax.slice_in_dim(x, b, b + strips, axis=x.ndim - 3) for b in range(blocks)]
    columns = jnp.concatenate(seen, axis=-2)[..., : strip + geometry.window[-1] - 1, :]

    def in_one_loop(columns: Array) -> Array:
        for axis in range(last):
            columns = stacked_taps(lax.optimization_barrier(columns), axis, outer)
            columns = jnp.moveaxis(columns, axis + 1, -2)
        return columns if last else columns[..., None, :]

    def by_slices(columns: Array) -> Array:
        return jnp.stack(all_taps(columns, outer), axis=-2)

    return row_major(columns.reshape(*columns.shape[:-2], -1), in_one_loop, by_slices)
