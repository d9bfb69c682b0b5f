"""Few channels a feature group on a CPU, tap by tap: what `_shifts.py` says, with sums reordered.

With a few input channels there is little to contract but the taps, and a product is one number, or
a few, times a vector along the output's channels:

    y[n,p,g,m] = Σ_r,c x[n, s·p + d·r - lo, g,c] k[r,c,g,m]     for c < c_in/g, m < c_out/g     (1)

A loop over the output adds up a few of these terms, as many as leave the kernel's vectors in the
registers of a core; the next loop goes on with its result. Depthwise, c = m = 1, the vectors run
along the groups, and small windows need no padded x.

The input gradient, the transpose of (1) in x, is a convolution of the form (1) itself where there
are no strides; else each product is placed where its tap lies, in phases. The kernel gradient, here
for one input channel a group,

    k_bar[r,g,m] = Σ_n,p x[n, s·p + d·r - lo, g] y[n,p,g,m]                                     (2)

walks along the first spatial axis and adds whole rows to one accumulator a tap, for all taps in one
loop, because a reduction over all but the innermost axis at once runs at a tenth of the memory's
rate. With one spatial axis it walks along the examples.

Cost: 2·n·|P|·|R|·c·c_out/g operations at the rate of the caches, not that of matrix products; the
output is written, and read again, once for every nine terms. Needs few terms in an element, at most
128, and no input dilation.
"""

import math

import jax.numpy as jnp
from jax import lax

from .._geometry import Axis, Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import (
    IS_JAX_0_10,
    Dtypes,
    add_up,
    by_group,
    rotate_kernel,
    sum_in_loop,
    taps_by_group,
    to_accumulator,
    with_zeros_multiplied,
)
from ._problem import Problem
from ._sliding import MAX_TAPS, all_taps, inside, padded, place_all_taps, stacked_taps, taps_inside

# Examples whose products are added up before they go to the accumulator. XLA of JAX 0.10 makes slow
# loops of more than one.
_EXAMPLES = 1 if IS_JAX_0_10 else 4

# Terms that one loop adds up. With twelve, and a vector of the kernel for each, some cases take
# twice as long.
TERMS = 9


def why_not(problem: Problem) -> str:
    """What keeps a corner from being computed tap by tap; empty if nothing does."""
    geometry = problem.geometry
    if any(e > 1 for e in geometry.input_dilation):
        return "the input is dilated"
    if not geometry.rank:
        return "there is no spatial axis"
    if 0 in geometry.output_size:
        return "the output is empty"
    if problem.slot == "k" and problem.c != geometry.groups:
        return "feature groups have more than one channel"
    if terms(problem) > MAX_TAPS:
        return f"there are more than {MAX_TAPS} terms to unroll"
    return ""


def terms(problem: Problem) -> int:
    """How many products are unrolled: the taps, times the channels that are summed over."""
    channels = {"y": problem.c, "x": problem.o, "k": problem.geometry.groups}[problem.slot]
    return math.prod(problem.geometry.window) * channels // problem.geometry.groups


def taps_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: (1)."""
    x, kernel = to_accumulator(dtypes[2], x, kernel)
    products = _products(by_group(x, geometry.groups), kernel, geometry)
    total, *sums = (
        add_up(products[start : start + TERMS]) for start in range(0, len(products), TERMS)
    )
    for more in sums:
        total = lax.optimization_barrier(total) + more
    y = total.reshape(*total.shape[:-2], -1)
    if _pads_terms(geometry, kernel):
        y = with_zeros_multiplied("y", y, kernel, geometry.groups)
    return _as_a_loop(y).astype(dtypes[2])


def _as_a_loop(y: Array) -> Array:
    """The array itself, by an operation that XLA leaves to its own loops.

    A sum over y, as a bias's gradient or batch normalization takes, and with it all the terms of
    (1), would be handed to a library, and each slice written out for it: fifty times slower.
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return y
    kept = jnp.finfo(y.dtype)
    return lax.reduce_precision(y, kept.nexp, kept.nmant)


def _products(x: Array, kernel: Kernel, geometry: Geometry) -> list[Array]:
    """The terms of (1), for x as `(n, *spatial, g, c/g)`."""
    # A loop would read a kernel that was turned in the order that it had before.
    flat = lax.optimization_barrier(kernel.reshape(-1))
    k = taps_by_group(flat.reshape(kernel.shape), geometry.groups)
    if _pads_terms(geometry, kernel):
        zero = jnp.zeros((), x.dtype)
        return [
            lax.pad(part * k_r[0], zero, [*sides, (0, 0, 0), (0, 0, 0)])
            for (part, sides), k_r in zip(taps_inside(x, geometry), k, strict=True)
        ]
    # Each loop would pad anew, for each of its terms.
    pixels, whole = padded(x, geometry)
    taps = zip(all_taps(lax.optimization_barrier(pixels), whole), k, strict=True)
    return [x_r[..., c : c + 1] * k_r[c] for x_r, k_r in taps for c in range(len(k_r))]


def _pads_terms(geometry: Geometry, kernel: Kernel) -> bool:
    """Whether to pad the terms of a depthwise layer, inside the loop, and not x before it.

    That reads and writes x once less. It makes 3x3 windows a fifth faster, and with strides three
    times, as long as the terms make one loop, few of them have an end of their own (with four on
    either side it takes four times as long) and the vectors that are chosen or not are long.
    """
    ends = [[inside(tap, axis) for tap in range(axis.r)] for axis in geometry.axes()]
    partial = [
        sum(len(met) < axis.p for met in of_axis)
        for of_axis, axis in zip(ends, geometry.axes(), strict=True)
    ]
    return (
        kernel.shape[-2:] == (1, geometry.groups)
        and (geometry.groups >= 32 or max(geometry.strides) > 1)
        and geometry.rank <= 2
        and math.prod(geometry.window) <= TERMS
        and max(partial) <= 2
        and all(all(of_axis) for of_axis in ends)
    )


def taps_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the error times each tap, placed where the tap lies."""
    if set(geometry.strides) == {1}:
        # (G') is (G) then, and (1) reads each error in place: faster than to place each product.
        back = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return taps_forward(y, rotate_kernel(kernel, geometry.groups), **back)
    kernel, y = to_accumulator(dtypes[0], kernel, y)
    k = jnp.swapaxes(taps_by_group(kernel, geometry.groups), 1, 2)
    errors = by_group(y, geometry.groups)

    def term(tap: int) -> Array:
        return add_up(errors[..., m : m + 1] * k[tap, ..., m] for m in range(k.shape[-1]))

    x = place_all_taps(term, geometry)
    return x.reshape(*x.shape[:-2], -1).astype(dtypes[0])


def taps_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: for each tap the sum over examples and positions of input times error."""
    x, y = to_accumulator(dtypes[1], x, y)
    errors = by_group(y, geometry.groups)
    pixels, whole = padded(x[..., None], geometry)
    (first, *others), rest = whole.axes(), whole.spatial(1)
    if not others:  # a row of one pixel is not worth a step: let each example be a row
        rows = x.shape[0]
        first, rest = Axis(i=rows, r=1, p=rows, s=1, lo=0, e=1, d=1), whole
        pixels, errors = pixels[None], errors[None]
    n = pixels.shape[0]
    # An exported program may leave the number of examples open.
    most = _EXAMPLES if isinstance(n, int) else 1
    share = max(size for size in range(1, most + 1) if size == 1 or n % size == 0)

    def products(p: Array) -> Array:
        """Of one row of outputs: `(examples/share, taps, *rest, g, m)`."""
        error = lax.dynamic_slice_in_dim(errors, p, 1, axis=1)
        rows = lax.dynamic_slice_in_dim(pixels, first.s * p, first.d * (first.r - 1) + 1, axis=1)
        seen = _all_stacked(lax.slice_in_dim(rows, 0, None, first.d, axis=1), rest)
        # Added up for some examples, which the accumulator then need not hold.
        return add_up(seen[i::share] * error[i::share] for i in range(share))

    sums = sum_in_loop(products, first.p)
    k = sums.sum((0, *range(2, sums.ndim - 2)))
    return k.reshape(*geometry.window, 1, -1).astype(dtypes[1])


def _all_stacked(rows: Array, geometry: Geometry) -> Array:
    """What all taps see of `(n, rows, *spatial, …)`, rows among them: `(n, taps, *output, …)`."""
    n = rows.shape[0]
    rows = rows.reshape(-1, *rows.shape[2:])
    for axis in range(geometry.rank):
        stacked = jnp.moveaxis(stacked_taps(rows, axis, geometry), axis + 1, 1)
        rows = stacked.reshape(-1, *stacked.shape[2:])
    return rows.reshape(n, -1, *rows.shape[1:])
