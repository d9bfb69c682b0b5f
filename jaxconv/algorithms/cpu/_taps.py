"""Few channels a feature group: a sum over taps, added up a few terms at a time.

With a few input channels there is little to contract but the taps. A product is one element, or a
few, times a vector along the output's channels:

    y[n,p,g,m] = Σ_r,c x[n, s·p + d·r - lo, g,c] k[r,c,g,m]     for c < c_in/g, m < c_out/g     (1)

A loop over the output adds up a few of these terms, as many as leave the kernel's vectors in the
registers of a core. The next loop goes on with its result. In a depthwise layer, c = m = 1, the
vectors run along the groups, and small windows need no padded x.

The input gradient is the transpose of (1) in x. Without strides it is a convolution of the form (1)
itself. With strides each product is placed where its tap lies, in phases. The kernel gradient, here
for one input channel a group,

    k_bar[r,g,m] = Σ_n,p x[n, s·p + d·r - lo, g] y[n,p,g,m]                                     (2)

walks along the first spatial axis and adds whole rows to one accumulator a tap, for all taps in one
loop. A reduction over all but the innermost axis at once would run at a tenth of the memory's rate.
With one spatial axis it walks along the examples.

Takes 2·n·|P|·|R|·c·c_out/g operations at the rate of the caches, not that of matrix products. The
output is written, and read again, once for every loop.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Axis, Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._arrays import (
    add_up,
    exchange_channels,
    split_groups,
    sum_in_loop,
    taps_by_group,
    times,
)
from ..shared._dtypes import to_accumulator
from ..shared._taps import MAX_TAPS, all_taps, pad_or_crop_to_taps, place_all_taps
from ._hints import HINTS
from ._jax_0_10 import EXAMPLES_ADDED_FIRST, PLACED_TERM
from ._rates import CACHED, LAUNCH, STREAMED, STRIDED, thin
from ._stacked_taps import outputs_inside, stacked_taps, taps_inside

# The most terms that one loop adds up. With twelve, and a vector of the kernel for each, some cases
# take twice as long. In depthwise layers the vectors run along the groups, and longer loops take
# 0.9 of the time.
TERMS, _DEPTHWISE_TERMS = 9, 17

# By how much an operation is slower than in a matrix product: in a kernel gradient with rows to add
# up, and with one spatial axis, which has none; in a sum of products of single elements; and in a
# sum of products with vectors, before the length of the vectors (half the speed at 8 elements) and
# the number of channels that are summed over (half the speed at 16) are counted.
_KERNEL_VJP, _KERNEL_VJP_SIGNAL = 15.0, 100.0
_ELEMENTS, _VECTORS = 4.0, 1.5
_HALF_SPEED_VECTOR, _HALF_SPEED_CHANNELS = 8, 16

# Terms are padded from so many groups on, or with strides; in at most so many axes; and if at most
# so many taps of an axis see padding.
_LONG_VECTORS, _AXES, _TAPS_AT_ENDS = 32, 2, 2


class Taps(Algorithm):
    """(1) and (2), with all terms unrolled."""

    name = "taps"
    finishes = frozenset({Remainder.PHASES})
    multiplies_padding = True
    hints = HINTS

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y: (1)."""
        return self._forward(spec, x, kernel, reverses=False)

    def _forward(self, spec: ConvSpec, x: Array, kernel: Array, *, reverses: bool) -> Array:
        """(1), with the window of the kernel reversed or as it is."""
        groups = spec.geometry.groups
        x, kernel = to_accumulator(spec.dtypes.y, x, kernel)
        # What computes x would become part of each term.
        x = split_groups(self.hints.separate(x), groups)
        products = self._products(x, kernel, spec, reverses=reverses)
        is_depthwise = _is_depthwise(kernel, groups)
        total, *sums = map(add_up, _loops(products, is_depthwise=is_depthwise))
        for more in sums:
            total = self.hints.separate(total) + more
        y = _as_a_loop(total.reshape(*total.shape[:-2], -1))
        # Each loop that reads y would compute it again.
        return self.hints.separate(y).astype(spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: y times each tap, placed where the tap lies."""
        groups = spec.geometry.groups
        if set(spec.geometry.strides) == {1}:
            # (G') has no input dilation then, and (1) reads y in place. That is faster than to
            # place each product.
            exchanged = exchange_channels(kernel, groups)
            return self._forward(spec.transposed(), y, exchanged, reverses=True)
        y = self.hints.separate(y)
        kernel, y = to_accumulator(spec.dtypes.x, kernel, y)
        k = jnp.swapaxes(taps_by_group(kernel, groups), 1, 2)
        y_groups = split_groups(y, groups)
        columns = [_channel(y_groups, m) for m in range(k.shape[-1])]

        def term(tap: int) -> Array:
            return add_up(times(y_m, k[tap, ..., m]) for m, y_m in enumerate(columns))

        x = place_all_taps(term, spec.geometry)
        return self.hints.separate(x.reshape(*x.shape[:-2], -1)).astype(spec.dtypes.x)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k: for each tap the sum over examples and positions of input times y."""
        geometry = spec.geometry
        x, y = to_accumulator(spec.dtypes.k, x, y)
        y_groups = split_groups(y, geometry.groups)
        padded, whole = pad_or_crop_to_taps(x[..., None], geometry)
        (first, *others), rest = whole.axes(), whole.spatial(1)
        if not others:  # a row would be one element, so the examples take the place of rows
            rows = x.shape[0]
            first, rest = Axis(i=rows, r=1, p=rows, s=1, lo=0, e=1, d=1), whole
            padded, y_groups = padded[None], y_groups[None]
        n = padded.shape[0]
        # An exported program may leave the number of examples open.
        most = EXAMPLES_ADDED_FIRST if isinstance(n, int) else 1
        share = max(size for size in range(1, most + 1) if size == 1 or n % size == 0)

        def products(p: Array) -> Array:
            """The products of one row of outputs: `(examples/share, taps, *rest, g, m)`."""
            y_row = lax.dynamic_slice_in_dim(y_groups, p, 1, axis=1)
            height = first.d * (first.r - 1) + 1
            rows = lax.dynamic_slice_in_dim(padded, first.s * p, height, axis=1)
            seen = _stack_all(lax.slice_in_dim(rows, 0, None, first.d, axis=1), rest)
            # These are added up for some examples here, so that the accumulator is that much
            # smaller.
            return add_up(
                times(_every(seen, i, share), _every(y_row, i, share)) for i in range(share)
            )

        sums = sum_in_loop(products, first.p)
        k = sums.sum((0, *range(2, sums.ndim - 2)))
        return k.reshape(*geometry.window, 1, -1).astype(spec.dtypes.k)

    def why_not(self, problem: Problem) -> str:
        """Why it is not a sum of few terms; empty if it is."""
        geometry = problem.geometry
        if any(e > 1 for e in geometry.input_dilation):
            return "the input is dilated"
        if not geometry.rank:
            return "there is no spatial axis"
        if 0 in geometry.output_size:
            return "the output is empty"
        if problem.slot == Slot.KERNEL and problem.c != geometry.groups:
            return "feature groups have more than one channel"
        if _terms(problem) > MAX_TAPS:
            return f"there are more than {MAX_TAPS} terms to unroll"
        return ""

    def cost(self, problem: Problem) -> float:
        """Multiplications at the rate of the caches, and the output passed from loop to loop."""
        slot, geometry, n, c, o, _ = problem
        operations = problem.operations
        if slot == Slot.KERNEL:
            return LAUNCH + (_KERNEL_VJP if geometry.rank > 1 else _KERNEL_VJP_SIGNAL) * operations
        copied = n * c * math.prod(geometry.input_size)
        c, o = c // geometry.groups, o // geometry.groups
        if slot == Slot.INPUT and set(geometry.strides) != {1}:
            return LAUNCH + PLACED_TERM * operations + (STRIDED * copied if c > 1 else 0.0)
        inner, vector = (o, c) if slot == Slot.INPUT else (c, o)
        channels = 1 + inner / _HALF_SPEED_CHANNELS
        slow = _VECTORS * thin(vector, _HALF_SPEED_VECTOR) * channels
        slow = _ELEMENTS if inner == vector == 1 else slow
        loops = len(_loops(range(_terms(problem)), is_depthwise=inner == vector == 1))
        outputs = operations / (2 * _terms(problem))
        passed_on = outputs * (loops - 1) if outputs > CACHED else 0.0
        return LAUNCH + slow * operations + STREAMED * (copied + passed_on)

    def _products(self, x: Array, kernel: Kernel, spec: ConvSpec, *, reverses: bool) -> list[Array]:
        """The terms of (1), for x as `(n, *spatial, g, c/g)`."""
        geometry, channels = spec.geometry, kernel.shape[-2]
        pads_terms = _pads_terms(geometry, kernel)
        if pads_terms and spec.forward == Slot.OUTPUT:
            kernel = _with_zeros_multiplied(kernel)
        # The loops read an exchanged kernel in its former order, unless it is written out first.
        flat = self.hints.separate(kernel.reshape(-1))
        by_term = flat.reshape(-1, geometry.groups, kernel.shape[-1] // geometry.groups)
        rows = list(by_term)
        taps = [rows[start : start + channels] for start in range(0, len(rows), channels)]
        if reverses:
            taps.reverse()
        if pads_terms:
            zero = jnp.zeros((), x.dtype)
            return [
                lax.pad(times(part, k_r), zero, [*sides, (0, 0, 0), (0, 0, 0)])
                for (part, sides), (k_r,) in zip(taps_inside(x, geometry), taps, strict=True)
            ]
        # The padded input is written out first. Each loop would pad it again for each of its terms.
        padded, whole = pad_or_crop_to_taps(x, geometry)
        seen = zip(all_taps(self.hints.separate(padded), whole), taps, strict=True)
        return [times(_channel(x_r, c), k_rc) for x_r, k_r in seen for c, k_rc in enumerate(k_r)]


def _is_depthwise(kernel: Kernel, groups: int) -> bool:
    return kernel.shape[-2:] == (1, groups)


def _every(a: Array, start: int, step: int) -> Array:
    """The examples `start`, `start + step`, …"""
    return a if step == 1 else lax.slice_in_dim(a, start, None, step)


def _channel(a: Array, channel: int) -> Array:
    """One channel of `(…, c)`, as `(…, 1)`."""
    if a.shape[-1] == 1:
        return a
    return lax.slice_in_dim(a, channel, channel + 1, axis=a.ndim - 1)


def _with_zeros_multiplied(kernel: Kernel) -> Kernel:
    """`kernel_with_zeros_multiplied` of a depthwise kernel, as a product with the identity.

    Its zeros meet all other taps of the channel. XLA leaves the product to a library, which takes
    no time to compile.
    """
    if not jnp.issubdtype(kernel.dtype, jnp.inexact):
        return kernel
    taps = kernel.reshape(-1, kernel.shape[-1])
    identity = np.eye(len(taps), dtype=kernel.dtype)  # a constant; JAX would compute it
    return jnp.matmul(identity, taps, precision=lax.Precision.HIGHEST).reshape(kernel.shape)


def _terms(problem: Problem) -> int:
    """How many products are unrolled: the taps, times the channels that are summed over."""
    slot, geometry, _, c, o, _ = problem
    channels = {Slot.OUTPUT: c, Slot.INPUT: o, Slot.KERNEL: geometry.groups}[slot]
    return math.prod(geometry.window) * channels // geometry.groups


def _loops(terms: Sequence[Any], *, is_depthwise: bool) -> list[Sequence[Any]]:
    """The terms that each loop adds up: as few loops as possible, of nearly the same length."""
    count = -(-len(terms) // (_DEPTHWISE_TERMS if is_depthwise else TERMS))
    ends = [len(terms) * i // count for i in range(count + 1)]
    return [terms[start:end] for start, end in pairwise(ends)]


def _as_a_loop(y: Array) -> Array:
    """The same array, by an operation that XLA leaves to its own loops.

    A bias's gradient or batch normalization takes a sum over y. XLA would hand that sum to a
    library, together with the terms of (1), and write out each slice for it: fifty times slower.
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return y
    kept = jnp.finfo(y.dtype)
    return lax.reduce_precision(y, kept.nexp, kept.nmant)


def _pads_terms(geometry: Geometry, kernel: Kernel) -> bool:
    """Whether to pad the terms of a depthwise layer, inside the loop, and not x before it.

    That reads and writes x once less. It makes 3x3 windows a fifth faster, and with strides three
    times, under three conditions: the terms make one loop; at most two taps of an axis see padding
    (with four on either side it takes four times as long); and the vectors that are padded are
    long. Besides, each tap and each output must meet an element.
    """
    axes = list(geometry.axes())
    met = [[outputs_inside(tap, axis) for tap in range(axis.r)] for axis in axes]
    at_ends = [
        sum(len(outputs) < axis.p for outputs in of_axis)
        for of_axis, axis in zip(met, axes, strict=True)
    ]
    return (
        _is_depthwise(kernel, geometry.groups)
        and (geometry.groups >= _LONG_VECTORS or max(geometry.strides) > 1)
        and geometry.rank <= _AXES
        and math.prod(geometry.window) <= TERMS
        and max(at_ends) <= _TAPS_AT_ENDS
        and all(all(of_axis) for of_axis in met)
        and all(
            len(set().union(*of_axis)) == axis.p for of_axis, axis in zip(met, axes, strict=True)
        )
    )


def _stack_all(rows: Array, geometry: Geometry) -> Array:
    """What all taps see of `(n, rows, *spatial, …)`, rows as taps too: `(n, taps, *output, …)`."""
    n = rows.shape[0]
    rows = rows.reshape(-1, *rows.shape[2:])
    for axis in range(geometry.rank):
        stacked = jnp.moveaxis(stacked_taps(rows, axis, geometry), axis + 1, 1)
        rows = stacked.reshape(-1, *stacked.shape[2:])
    return rows.reshape(n, -1, *rows.shape[1:])
