"""Taps folded into channels: spatial axes leave the convolution and join the matrix product.

On an axis without input dilation, (G) says which pixel tap r meets at output p: i = s·p + d·r - lo.
Collect these in *patches* and the axis is no longer a spatial one, but one more kind of example,

    x'[n,p; r,c] = x[n, s·p + d·r - lo, c]        T = Σ x'[n,p; r,c] k[r,c; o] y[n,p; o]        (1)

On an axis without stride the same can be done to the error, since (G') is (G) with x and y
exchanged and the taps counted from the other end:

    y'[n,i; r,o] = y[n, e·i + lo - d·r, o]        T = Σ x[n,i; c] k[c; r,o] y'[n,i; r,o]        (2)

Fold all axes and T is a matrix product. Which corner is wanted decides what that product is:

    axes folded     forward                     input gradient            kernel gradient
    into x, (1)     im2col                      product, then col2im      im2col
    into y, (2)     product, then shifted adds  im2col of the error       im2col of the error
    one and one                                                           split im2col

where "col2im" and "shifted adds" are the transposes of (1) and (2): overlapping patches are added
where they lie. Splitting needs R·c + R·o columns for two axes, not R²·c. Fold the first axis alone,
the depth of a volume, and a convolution of one rank less is left, with R times the channels; of use
forward and for the input gradient, whose convolutions XLA does well.

Cost: 2·n·|P|·|R|·c·o operations, as the direct sum (|I| in place of |P| on axes folded into y), and
the patches written and read once: R times x (or y) an axis. So as not to leave the caches, examples
are taken in blocks.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array
from ._arrays import (
    Dtypes,
    accumulator,
    by_group,
    common_dtype,
    in_vectors,
    rotate_kernel,
    to_common_dtype,
    turned,
)
from ._blocks import block, in_blocks
from ._problem import Problem
from ._row_major import row_major
from ._sliding import MAX_TAPS, extended, place_taps, stacked_taps, taps

# The letters of axes in (G'), where x and y are exchanged.
_EXCHANGED = str.maketrans("xy", "yx")


def fold(
    slot: str,
    *operands: Array,
    into: str,
    geometry: Geometry,
    dtypes: Dtypes,
    solve: Callable[..., Array],
) -> Array:
    """A corner with its first axes folded, one for each letter of `into`, into "x" or "y".

    `solve(slot, *operands, geometry=…, dtypes=…)` computes the corner that is left.
    """
    if slot == "x" and len(into) < geometry.rank:
        # The forward pass of (G'): its kernel is turned once, not again for each block of examples.
        kernel, y = operands
        return fold(
            "y",
            y,
            rotate_kernel(kernel, geometry.groups),
            into=into.translate(_EXCHANGED),
            geometry=geometry.transposed(),
            dtypes=(dtypes[2], dtypes[1], dtypes[0]),
            solve=solve,
        )
    wide = accumulator(common_dtype(dtypes["xky".index(slot)], *(a.dtype for a in operands)))
    slots = [s for s in "xky" if s != slot]
    form = _Folded(geometry, into)

    def corner(*operands: Array) -> Array:
        """Of operands whose kernel is that of the inner form."""
        inner = [a if s == "k" else form.enter(s, a) for s, a in zip(slots, operands, strict=True)]
        out = solve(slot, *inner, geometry=form.inner, dtypes=(wide,) * 3)
        n = next(a.shape[0] for s, a in zip(slots, operands, strict=True) if s != "k")
        return form.leave(slot, out, n)

    each = sum(numbers(geometry, into, *_channels(slot, operands, geometry)).values())
    operands = tuple(
        form.enter("k", a) if s == "k" else a
        for s, a in zip(slots, to_common_dtype(*operands), strict=True)
    )
    return in_blocks(corner, slot, operands, each).astype(dtypes["xky".index(slot)])


def why_not(problem: Problem, into: str) -> str:
    """What keeps these axes from being folded; empty if (1) or (2) holds on each of them."""
    geometry = problem.geometry
    if not 0 < len(into) <= geometry.rank:
        return f"there are {geometry.rank} spatial axes"
    if len(into) < geometry.rank and geometry.groups > 1:
        # XLA's simplifier aborts on some of the grouped convolutions that would be left.
        return "there are feature groups"
    for letter, axis in zip(into, geometry.axes(), strict=False):
        if letter == "x" and axis.e > 1:
            return "the input is dilated"
        if letter == "y" and axis.s > 1:
            return "there are strides"
    if math.prod(geometry.window[: len(into)]) > MAX_TAPS:
        return f"there are more than {MAX_TAPS} taps to unroll"
    return ""


def leaves(problem: Problem, into: str) -> Problem:
    """The corner that is left, of a block of examples, when the first axes are folded."""
    slot, geometry, _, c, o = problem
    folded = _Folded(geometry, into)
    return Problem(
        slot,
        folded.inner,
        _block(problem, into) * math.prod(folded.grid),
        c * math.prod(geometry.window[a] for a in folded.axes["x"]),
        o * math.prod(geometry.window[a] for a in folded.axes["y"]),
    )


def times(problem: Problem, into: str) -> int:
    """How many blocks there are."""
    return -(-problem.n // max(_block(problem, into), 1))


def _block(problem: Problem, into: str) -> int:
    made = numbers(problem.geometry, into, problem.c, problem.o)
    return block(problem.n, sum(made.values()))


def numbers(geometry: Geometry, into: str, c: int, o: int) -> dict[str, int]:
    """How many numbers the patches of one example hold, by the slot that they are made of."""
    folded = _Folded(geometry, into)
    grid = math.prod(folded.grid)
    found = {}
    for slot, channels, kept in (
        ("x", c, folded.inner.input_size),
        ("y", o, folded.inner.output_size),
    ):
        axes = [axis for axis in folded.axes[slot] if _copies(geometry, axis)]
        if axes:
            taps = math.prod(geometry.window[axis] for axis in axes)
            found[slot] = grid * math.prod(kept) * taps * channels
    return found


def _copies(geometry: Geometry, axis: int) -> bool:
    """Whether folding an axis takes more than to rename it: all but a window of one, unstrided."""
    plain = geometry.window[axis] == 1 and geometry.padding[axis] == (0, 0)
    return not plain or geometry.strides[axis] > 1 or geometry.input_dilation[axis] > 1


def _channels(slot: str, operands: tuple[Array, ...], geometry: Geometry) -> tuple[int, int]:
    """The channels c and o of a corner's operands."""
    first, second = (a.shape for a in operands)
    return (first[-2] * geometry.groups if slot == "x" else first[-1], second[-1])


class _Folded:
    """How the three slots enter and leave a form whose first axes are folded."""

    def __init__(self, geometry: Geometry, into: str):
        self.geometry, self.back, self.into = geometry, geometry.transposed(), into
        rank = len(into)
        self.axes = {w: [a for a in range(rank) if into[a] == w] for w in "xy"}
        self.grid = tuple(
            geometry.output_size[a] if into[a] == "x" else geometry.input_size[a]
            for a in range(rank)
        )
        self.inner = geometry.spatial(rank)

    def enter(self, slot: str, a: Array) -> Array:
        """A slot's array as the inner form takes it."""
        if slot == "k":
            return self._kernel(a)
        geometry = self.geometry if slot == "x" else self.back
        n, kept = a.shape[0], geometry.spatial(len(self.into)).input_size

        def patches(a: Array, stacked: Callable[..., Array]) -> Array:
            a, left = extended(a, self.axes[slot], geometry)
            for axis in self.axes[slot]:
                a = stacked(a, axis, left)  # (1), (2)
            return a

        def in_one_loop(a: Array, axis: int, geometry: Geometry) -> Array:
            # XLA for CPUs would pad again for each tap.
            a = stacked_taps(lax.optimization_barrier(a), axis, geometry)
            return jnp.moveaxis(a, axis + 1, -3)

        def by_slices(a: Array, axis: int, geometry: Geometry) -> Array:
            return jnp.stack(taps(a, axis, geometry), axis=-2)

        a = row_major(
            by_group(a, geometry.groups),
            lambda a: patches(in_vectors(a), in_one_loop),
            lambda a: patches(a, by_slices),
        )
        return a.reshape(math.prod(self.grid) * n, *kept, -1)

    def leave(self, slot: str, a: Array, n: int) -> Array:
        """The transpose of `enter`."""
        if slot == "k":
            return self._kernel_back(a)
        geometry = self.geometry if slot == "x" else self.back
        axes, groups = self.axes[slot], geometry.groups
        window = [geometry.window[axis] for axis in axes]
        channels = a.shape[-1] // math.prod(window)
        a = a.reshape(n, *self.grid, *a.shape[1:-1], groups, *window, channels // groups)
        a = in_vectors(a)
        for axis in reversed(axes):
            a = place_taps(
                lambda r, a=a: lax.index_in_dim(a, r, -3, keepdims=False), axis, geometry
            )
        return a.reshape(*a.shape[:-3], channels)

    def _kernel(self, k: Array) -> Array:
        *window, c, o = k.shape
        k = turned(k, len(self.axes["y"]))  # the taps of (G') are counted from the other end
        groups = self.geometry.groups
        split = k.reshape(*window, c, groups, o // groups)
        ordered = split.transpose(self._order())
        rows = c * math.prod(window[a] for a in self.axes["x"])
        return ordered.reshape(*window[len(self.into) :], rows, -1)

    def _kernel_back(self, k: Array) -> Array:
        window, groups = self.geometry.window, self.geometry.groups
        over_x = [window[a] for a in self.axes["x"]]
        over_y = [window[a] for a in self.axes["y"]]
        *kept, rows, columns = k.shape
        c, o = rows // math.prod(over_x), columns // math.prod(over_y)
        split = k.reshape(*kept, *over_x, c, groups, *over_y, o // groups)
        order = self._order()
        k = split.transpose([order.index(axis) for axis in range(len(order))])
        return turned(k.reshape(*window, c, o), len(self.axes["y"]))

    def _order(self) -> list[int]:
        """Axes of `(*window, c, g, o/g)` as the inner kernel's rows and columns have them."""
        rank = self.geometry.rank
        kept, c, g, o = range(len(self.into), rank), rank, rank + 1, rank + 2
        return [*kept, *self.axes["x"], c, g, *self.axes["y"], o]
