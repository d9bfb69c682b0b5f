"""Few channels: rows cut into strips, each strip a row of a matrix product with a banded kernel.

With one input channel a window has too few elements to fill a matrix product. Take S neighbouring
outputs of a row, a strip, at once. Together they see S+R-1 elements of each row of their windows,
and

    y[p, S·t + a, o] = Σ x[p + r, S·t + j, c] band[r,j,c, a,o]    over r, j < S+R-1 and c
    band[r,j,c, a,o] = k[r, j-a, c, o]    where 0 <= j-a < R, else 0                           (1)

The band holds S shifted copies of the kernel's rows, a Toeplitz matrix. The sizes of the product
grow from |R|·c and o to |R|·(S+R-1)/R·c and S·o, for (S+R-1)/R times as many operations as needed.

The zeros of the band meet elements, too. In the input gradient an infinity or NaN in y therefore
reaches all elements that its strip sees, up to S-1 beyond its window on either side. In the kernel
gradient one in x or y reaches all taps of its rows.

Needs stride 1 and no dilation on the last axis, S a divisor of its output size, no input dilation
and one feature group. Holds |R|·(S+R-1)/(R·S) copies of x. It is the fastest for up to some 4
channels.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Dtypes, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._arrays import add_up
from ..shared._dtypes import to_accumulator
from ..shared._padding import pad_axis, pad_spatial
from ..shared._row_major import row_major
from ..shared._taps import MAX_TAPS, all_taps, pad_or_crop_to_taps, place_all_taps
from ._hints import HINTS
from ._rates import COPIED, LAUNCH, thin
from ._stacked_taps import shifted_copies, stacked_taps

# Copies that making the patches of a kernel gradient costs, in up to two and in three axes; and
# copies that adding up the patches of an input gradient costs.
_MADE, _MADE_OF_VOLUMES = 1.2, 1.8
_ADDED = 2

# Strips are up to this many windows long.
_LONGEST = 4


class Strips(Algorithm):
    """(1) for the gradients. The kernel gradient's product is left to another algorithm."""

    name = "strips"
    slots = (Slot.INPUT, Slot.KERNEL)
    remainder = Remainder.FOLDED
    finishes = frozenset({Remainder.PHASES, Remainder.GROUP})
    hints = HINTS

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k: the band's gradient is one product; the kernel's is the sum over its diagonals."""
        geometry = spec.geometry
        x, y = to_accumulator(spec.dtypes.k, x, y)
        c, o = x.shape[-1], y.shape[-1]
        strip, row = strip_length(geometry), geometry.window[-1]
        patches = _patches(x, geometry)
        rows = patches.reshape(-1, math.prod(patches.shape[-2:])), y.reshape(-1, strip * o)
        inner = geometry.spatial(geometry.rank)
        product = spec.replace(geometry=inner, dtypes=Dtypes(x.dtype, x.dtype, x.dtype))
        band = solve(Slot.KERNEL, product, *rows)
        band = band.reshape(-1, strip + row - 1, c, strip, o)
        k = add_up(band[:, a : a + row, :, a] for a in range(strip))  # (1)
        return k.reshape(*geometry.window, c, o).astype(spec.dtypes.k)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: a product with the transposed band, its rows and columns added where they lie."""
        geometry = spec.geometry
        kernel, y = to_accumulator(spec.dtypes.x, kernel, y)
        c, o = kernel.shape[-2:]
        n, *outer, size, _ = y.shape
        strip, row = strip_length(geometry), geometry.window[-1]
        blocks = _blocks(geometry)
        taps = kernel.reshape(-1, row, c, o)
        band = pad_axis(taps, 1, 0, blocks * strip + 1 - row)
        band = shifted_copies(band, 0, strip, -1)  # (1)
        over_outputs = (((1,), (1,)), ((), ()))
        patches = lax.dot_general(
            y.reshape(-1, strip * o),
            jnp.moveaxis(band, 1, -2).reshape(-1, strip * o),
            over_outputs,
            precision=spec.precision,
        )
        patches = patches.reshape(n, *outer, size // strip, len(taps), blocks, strip * c)
        last = geometry.rank - 1
        rows = place_all_taps(
            lambda number: lax.index_in_dim(patches, number, -3, keepdims=False),
            geometry.spatial(0, last),
        )
        rows = self.hints.separate(rows)
        strips = add_up(
            pad_spatial(lax.index_in_dim(rows, b, -2, keepdims=False), last, b, blocks - 1 - b)
            for b in range(blocks)
        )
        columns = strips.reshape(*strips.shape[:-2], -1, c)
        lo, size = geometry.padding[last][0], geometry.input_size[last]
        columns = pad_spatial(columns, last, -lo, size + lo - columns.shape[-2])
        return columns.astype(spec.dtypes.x)

    def why_not(self, problem: Problem) -> str:
        """Why rows can't be cut into strips; empty if they can."""
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

    def cost(self, problem: Problem) -> float:
        """Patches of strips, and for the input gradient the product with the band."""
        slot, geometry, n, c, o, _ = problem
        strip, row = strip_length(geometry), geometry.window[-1]
        columns = strip + row - 1
        outer = math.prod(geometry.window[:-1]) * math.prod(geometry.output_size)
        patches = n * outer * c * columns / strip
        if slot == Slot.KERNEL:
            made = _MADE_OF_VOLUMES if geometry.rank > 2 else _MADE
            return LAUNCH + COPIED * made * patches
        product = problem.operations * columns / row * thin(strip * o)
        return LAUNCH + product + COPIED * _ADDED * patches

    def leaves(self, problem: Problem) -> Problem | None:
        """The product of a kernel gradient. The input gradient leaves nothing."""
        slot, geometry, n, c, o, _ = problem
        if slot != Slot.KERNEL:
            return None
        strip, row = strip_length(geometry), geometry.window[-1]
        rows = n * math.prod(geometry.output_size) // strip
        seen = math.prod(geometry.window[:-1]) * (strip + row - 1) * c
        without_axes = geometry.spatial(geometry.rank)
        return problem._replace(geometry=without_axes, n=rows, c=seen, o=strip * o)

    def spreads(self, problem: Problem) -> bool:
        """It multiplies elements by the zeros of the band."""
        return True


def strip_length(geometry: Geometry) -> int:
    """S: the divisor of the last output size nearest to a window's row; 0 where there is none."""
    size, row = geometry.output_size[-1], geometry.window[-1]
    divisors = (s for s in range(2, min(size, _LONGEST * row) + 1) if size % s == 0)
    return min(divisors, key=lambda s: (abs(s - row), s), default=0)


def _blocks(geometry: Geometry) -> int:
    """How many strips the columns that one strip sees reach into."""
    strip = strip_length(geometry)
    return -(-(strip + geometry.window[-1] - 1) // strip)


def _patches(x: Array, geometry: Geometry) -> Array:
    """What each strip sees: `(n, *output, strips, taps, columns·c)`."""
    c = x.shape[-1]
    strip, blocks = strip_length(geometry), _blocks(geometry)
    strips = geometry.output_size[-1] // strip
    last = geometry.rank - 1
    lo, size = geometry.padding[last][0], geometry.input_size[last]
    x, outer = pad_or_crop_to_taps(x, geometry.spatial(0, last))
    x = pad_spatial(x, last, lo, (strips + blocks - 1) * strip - lo - size)
    x = x.reshape(*x.shape[:-2], strips + blocks - 1, strip, c)
    seen = [lax.slice_in_dim(x, b, b + strips, axis=x.ndim - 3) for b in range(blocks)]
    columns = jnp.concatenate(seen, axis=-2)[..., : strip + geometry.window[-1] - 1, :]
    return row_major(columns.reshape(*columns.shape[:-2], -1), _RowsOfWindows(outer))


@dataclass(frozen=True)
class _RowsOfWindows:
    """The rows that each window sees, as patches: a `Rearrangement` of what the strips see."""

    outer: Geometry

    def in_one_loop(self, a: Array) -> Array:
        for axis in range(self.outer.rank):
            a = stacked_taps(HINTS.separate(a), axis, self.outer)
            a = jnp.moveaxis(a, axis + 1, -2)
        return a if self.outer.rank else a[..., None, :]

    def by_slices(self, a: Array) -> Array:
        return jnp.stack(all_taps(a, self.outer), axis=-2)
