"""Depthwise convolutions on a CPU, tap by tap: what `_shifts.py` says, with two sums reordered.

With one input channel a feature group there is nothing to contract but the taps, and a product is a
multiplication of vectors along the channels:

    y[n,p,c,m] = Σ_r x[n, s·p + d·r - lo, c] k[r,c,m]            for m < c_out/c_in             (1)

The forward pass is that of `_shifts.py`. The input gradient, the transpose of (1) in x, places each
product where its tap lies, in phases, or is a convolution of the form (1) itself where there are no
strides. The kernel gradient,

    k_bar[r,c,m] = Σ_n,p x[n, s·p + d·r - lo, c] y[n,p,c,m]                                     (2)

walks along the first spatial axis and adds whole rows to one accumulator a tap, because a reduction
over all but the innermost axis at once runs at a tenth of the memory's rate.

Cost: 2·n·|P|·|R|·c_out operations at the rate of the caches, not that of matrix products. Needs
one input channel a group and no input dilation.
"""

import math

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import IS_JAX_0_10, Dtypes, add_up, rotated, sum_in_loop, to_accumulator
from ._problem import Problem
from ._shifts import shift_forward
from ._sliding import MAX_TAPS, all_taps, padded, place_all_taps

# Examples whose products are added up before they go to the accumulator. XLA of JAX 0.10 makes slow
# loops of more than one.
_EXAMPLES = 1 if IS_JAX_0_10 else 4


def why_not(problem: Problem) -> str:
    """What keeps a corner from being computed tap by tap; empty if nothing does."""
    geometry = problem.geometry
    if any(e > 1 for e in geometry.input_dilation):
        return "the input is dilated"
    if not geometry.rank:
        return "there is no spatial axis"
    if math.prod(geometry.window) > MAX_TAPS:
        return f"there are more than {MAX_TAPS} taps to unroll"
    if 0 in geometry.output_size:
        return "the output is empty"
    return "" if problem.c == geometry.groups else "feature groups have more than one channel"


def taps_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the error times each tap, placed where the tap lies."""
    if set(geometry.strides) == {1} and kernel.shape[-1] == geometry.groups:
        # (G') is (G) then, and (1) reads each error in place: faster than to place each product.
        back = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return shift_forward(y, rotated(kernel, geometry.groups), **back)
    kernel, y = to_accumulator(dtypes[0], kernel, y)
    k = kernel.reshape(math.prod(geometry.window), geometry.groups, -1)
    errors = y.reshape(*y.shape[:-1], geometry.groups, -1)

    def term(tap: int) -> Array:
        return add_up(errors[..., m] * k[tap, :, m] for m in range(k.shape[-1]))

    return place_all_taps(term, geometry).astype(dtypes[0])


def taps_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: for each tap the sum over examples and positions of input times error."""
    x, y = to_accumulator(dtypes[1], x, y)
    errors = y.reshape(*y.shape[:-1], geometry.groups, -1)
    pixels, whole = padded(x[..., None], geometry)
    (first, *others), rest = whole.axes(), whole.spatial(1)

    n = x.shape[0]
    # An exported program may leave the number of examples open.
    most = _EXAMPLES if isinstance(n, int) else 1
    share = max(size for size in range(1, most + 1) if size == 1 or n % size == 0)

    def products(p: Array) -> list[Array]:
        error = lax.dynamic_index_in_dim(errors, p, axis=1, keepdims=False)
        rows = (first.s * p + first.d * r for r in range(first.r))
        seen = (lax.dynamic_index_in_dim(pixels, row, axis=1, keepdims=False) for row in rows)
        return [summed(part, error) for row in seen for part in all_taps(row, rest)]

    def summed(part: Array, error: Array) -> Array:
        """Over some examples already, which the accumulator then need not hold."""
        parts, errors = (a.reshape(a.shape[0] // share, share, *a.shape[1:]) for a in (part, error))
        return add_up(parts[:, i] * errors[:, i] for i in range(share))

    if others:
        sums = sum_in_loop(products, first.p)
    else:  # rows of one pixel would not be worth a step of a loop
        sums = [part * errors for part in all_taps(pixels, whole)]
    k = jnp.stack([total.sum(range(total.ndim - 2)) for total in sums])
    return k.reshape(*geometry.window, 1, -1).astype(dtypes[1])
