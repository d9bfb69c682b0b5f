"""Depthwise convolutions tap by tap: shifted slices times one number a channel, added up.

With one input channel a feature group there is nothing to contract but the taps:

    y[n,p,c,m] = Σ_r x[n, s·p + d·r - lo, c] k[r,c,m]            for m < c_out/c_in             (1)

a product is a multiplication of vectors along the channels, and a matrix product would have one
row. Each corner reads the two given arrays once a tap and adds up in registers or in a cache:

    x_bar = Σ_r,m  y[·,c,m] k[r,c,m], placed where tap r lies          the transpose of (1) in x
    k_bar[r,c,m] = Σ_n,p x[n, s·p + d·r - lo, c] y[n,p,c,m]            the transpose of (1) in k

The kernel gradient walks along the first spatial axis and adds whole rows to one accumulator a tap,
row by row, because a reduction over all but the innermost axis at once runs at a tenth of the
memory's rate.

Cost: 2·n·|P|·|R|·c_out operations at the rate of the caches, not that of matrix products. Needs
one input channel a group and no input dilation.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Axis, Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, accumulator, add_up, rotated
from ._problem import Problem
from ._sliding import MAX_TAPS, pad_to_taps, place_taps


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


def taps_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: (1)."""
    x, kernel = _in_accumulator(dtypes[2], x, kernel)
    k = _by_channel(kernel, geometry)
    taps = np.ndindex(*geometry.window)
    seen = _seen(_padded(x, geometry)[..., None], list(geometry.axes()))
    y = add_up(pixels * k[tap] for tap, pixels in zip(taps, seen, strict=True))
    return y.reshape(*y.shape[:-2], -1).astype(dtypes[2])


def taps_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the error times each tap, placed where the tap lies."""
    if set(geometry.strides) == {1} and kernel.shape[-1] == geometry.groups:
        # (G') is (G) then, and (1) reads each error in place: faster than to place each product.
        back = {"geometry": geometry.transposed(), "dtypes": dtypes[::-1], "precision": precision}
        return taps_forward(y, rotated(kernel, geometry.groups), **back)
    kernel, y = _in_accumulator(dtypes[0], kernel, y)
    k = _by_channel(kernel, geometry)
    errors = y.reshape(*y.shape[:-1], geometry.groups, -1)

    def place(tap: tuple[int, ...]) -> Array:
        if len(tap) == geometry.rank:
            return add_up(errors[..., m] * k[tap][:, m] for m in range(k.shape[-1]))
        return place_taps(lambda r: place((*tap, r)), len(tap), geometry)

    return place(()).astype(dtypes[0])


def taps_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: for each tap the sum over examples and positions of input times error."""
    x, y = _in_accumulator(dtypes[1], x, y)
    pixels = _padded(x, geometry)[..., None]
    errors = y.reshape(*y.shape[:-1], geometry.groups, -1)
    first, *others = geometry.axes()

    def products(p: Array | int) -> list[Array]:
        error = lax.dynamic_index_in_dim(errors, p, axis=1, keepdims=False)
        rows = (first.s * p + first.d * r for r in range(first.r))
        seen = (lax.dynamic_index_in_dim(pixels, row, axis=1, keepdims=False) for row in rows)
        return [part * error for row in seen for part in _seen(row, others)]

    if others:
        sums = lax.fori_loop(
            1, first.p, lambda p, sums: jax.tree.map(jnp.add, sums, products(p)), products(0)
        )
    else:  # rows of one pixel would not be worth a step of a loop
        sums = [part * errors for part in _seen(pixels, [first])]
    k = jnp.stack([total.sum(range(total.ndim - 2)) for total in sums])
    return k.reshape(*geometry.window, 1, -1).astype(dtypes[1])


def _in_accumulator(result: np.dtype, *operands: Array) -> list[Array]:
    """Half precision is added up in float32 and rounded once, at the end."""
    wide = accumulator(jnp.result_type(*operands, result))
    return [operand.astype(wide) for operand in operands]


def _padded(x: Array, geometry: Geometry) -> Array:
    for axis in range(geometry.rank):
        x = pad_to_taps(x, axis, geometry)
    return x


def _by_channel(kernel: Kernel, geometry: Geometry) -> Array:
    """`(*window, 1, c_out)` to `(*window, c, m)`."""
    return kernel.reshape(*geometry.window, geometry.groups, -1)


def _seen(padded: Array, axes: list[Axis]) -> Iterator[Array]:
    """What each tap sees, lowest tap first; the spatial axes are those behind the examples."""
    if not axes:
        yield padded
        return
    *outer, last = axes
    for part in _seen(padded, outer):
        for r in range(last.r):
            end = last.d * r + last.s * (last.p - 1) + 1
            yield lax.slice_in_dim(part, last.d * r, end, last.s, axis=len(axes))
