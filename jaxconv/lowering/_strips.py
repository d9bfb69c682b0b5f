"""Few channels: rows cut into strips, each strip a row of a matrix product with a banded kernel.

With one input channel a window has too few numbers to fill a matrix product. Take S neighbouring
outputs of a row, a strip, at once: together they see S+R-1 pixels of each row of their windows, and

    y[p, S·t + a, o] = Σ x[p + r, S·t + j, c] band[r,j,c, a,o]    over r, j < S+R-1 and c
    band[r,j,c, a,o] = k[r, j-a, c, o]    where 0 <= j-a < R, else 0                           (1)

The band holds S shifted copies of the kernel's rows, a Toeplitz matrix. The sizes of the product
grow from |R|·c and o to |R|·(S+R-1)/R·c and S·o, for (S+R-1)/R times as many operations as needed.

Needs stride 1 and no dilation on the last axis, S a divisor of its output size, no input dilation
and one feature group. Holds |R|·(S+R-1)/(R·S) copies of x. Wins for c <= 4 or so.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, add_up, to_common_dtype
from ._problem import Problem
from ._sliding import MAX_TAPS


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


def strip_length(geometry: Geometry) -> int:
    """S: the divisor of the last output size nearest to a window's row; 0 where there is none."""
    size, row = geometry.output_size[-1], geometry.window[-1]
    divisors = (s for s in range(2, min(size, 4 * row) + 1) if size % s == 0)
    return min(divisors, key=lambda s: (abs(s - row), s), default=0)


def strip_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: the band's gradient is one product; the kernel's is the sum over its diagonals."""
    x, y = to_common_dtype(x, y)
    c, o = x.shape[-1], y.shape[-1]
    strip, row = strip_length(geometry), geometry.window[-1]
    patches = _patches(x, geometry)
    over_strips = (((0,), (0,)), ((), ()))
    band = lax.dot_general(
        patches.reshape(-1, math.prod(patches.shape[-3:])),
        y.reshape(-1, strip * o),
        over_strips,
        precision=precision,
    )
    band = band.reshape(-1, strip + row - 1, c, strip, o)
    k = add_up(band[:, a : a + row, :, a] for a in range(strip))  # (1)
    return k.reshape(*geometry.window, c, o).astype(dtypes[1])


def strip_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: one product with the transposed band, its rows and columns added where they lie."""
    kernel, y = to_common_dtype(kernel, y)
    c, o = kernel.shape[-2:]
    n, *outer, size, _ = y.shape
    strip, row = strip_length(geometry), geometry.window[-1]
    blocks = _blocks(geometry)
    taps = kernel.reshape(-1, row, c, o)
    rest = blocks * strip - row
    shifts = [jnp.pad(taps, [(0, 0), (a, rest - a), (0, 0), (0, 0)]) for a in range(strip)]
    band = jnp.stack(shifts, axis=-2)  # (1), its columns padded to whole strips
    over_outputs = (((1,), (1,)), ((), ()))
    patches = lax.dot_general(
        y.reshape(-1, strip * o), band.reshape(-1, strip * o), over_outputs, precision=precision
    )
    patches = patches.reshape(n, *outer, size // strip, len(taps), blocks, strip * c)
    rows = add_up(
        _place_rows(patches[..., number, :, :], tap, geometry)
        for number, tap in enumerate(np.ndindex(*geometry.window[:-1]))
    )
    axis = rows.ndim - 3  # of the strips; behind it blocks, and strip·c
    none = [(0, 0, 0)] * axis
    padded = add_up(
        lax.pad(rows[..., b, :], jnp.zeros((), y.dtype), [*none, (b, blocks - 1 - b, 0), (0, 0, 0)])
        for b in range(blocks)
    )
    columns = padded.reshape(*padded.shape[:-2], -1, c)
    lo = geometry.padding[-1][0]
    crop = geometry.input_size[-1] + lo - columns.shape[-2]
    columns = lax.pad(
        columns, jnp.zeros((), y.dtype), [*[(0, 0, 0)] * (axis), (-lo, crop, 0), (0, 0, 0)]
    )
    return columns.astype(dtypes[0])


def _blocks(geometry: Geometry) -> int:
    """How many strips the columns seen by one strip reach into."""
    strip = strip_length(geometry)
    return -(-(strip + geometry.window[-1] - 1) // strip)


def _patches(x: Array, geometry: Geometry) -> Array:
    """What each strip sees: `(n, *output, strips, taps, columns, c)`."""
    n, *_, c = x.shape
    strip, blocks = strip_length(geometry), _blocks(geometry)
    strips = geometry.output_size[-1] // strip
    reached = (s * (p - 1) + d * (r - 1) + 1 for _, r, p, s, _, _, d in geometry.axes())
    sides = [
        (0, 0, 0),
        *((a.lo, end - a.lo - a.i, 0) for a, end in zip(geometry.axes(), reached, strict=True)),
    ]
    lo = geometry.padding[-1][0]
    sides[-1] = (lo, (strips + blocks - 1) * strip - lo - geometry.input_size[-1], 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), [*sides, (0, 0, 0)])
    x = x.reshape(*x.shape[:-2], strips + blocks - 1, strip, c)
    seen = [lax.slice_in_dim(x, b, b + strips, axis=x.ndim - 3) for b in range(blocks)]
    columns = jnp.concatenate(seen, axis=-2)[..., : strip + geometry.window[-1] - 1, :]
    rows = []
    for tap in np.ndindex(*geometry.window[:-1]):
        outer = list(zip(tap, geometry.axes(), strict=False))
        starts = [axis.d * r for r, axis in outer]
        reach = [axis.s * (axis.p - 1) + 1 for _, axis in outer]
        rest = columns.shape[len(starts) + 1 :]
        rows.append(
            lax.slice(
                columns,
                (0, *starts, *(0 for _ in rest)),
                (n, *(a + b for a, b in zip(starts, reach, strict=True)), *rest),
                (1, *geometry.strides[:-1], *(1 for _ in rest)),
            )
        )
    return jnp.stack(rows, axis=-3)


def _place_rows(rows: Array, tap: tuple[int, ...], geometry: Geometry) -> Array:
    """Put what one tap of the outer axes gives where it lies on the input."""
    sides = [(0, 0, 0)]
    for r, axis in zip(tap, geometry.axes(), strict=False):
        first = axis.d * r - axis.lo
        last = first + axis.s * (axis.p - 1)
        sides.append((first, axis.i - 1 - last, axis.s - 1))
    sides += [(0, 0, 0)] * (rows.ndim - len(sides))
    return lax.pad(rows, jnp.zeros((), rows.dtype), sides)
