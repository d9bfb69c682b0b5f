"""Each corner as a sum over taps: shift one array, multiply by another, add up.

    y[p] = Σ_r X_r[p] k[r],     X_r[p] = x[s·p + d·r - lo]                                     (1)
    x_bar = Σ_r X_rᵀ(y_bar k[r]ᵀ),          k_bar[r] = Σ_np X_r[n,p] y_bar[n,p]                (2)

X_r is a strided slice of the padded input, and its transpose X_rᵀ lays a strided slice down again.
Depthwise, each product is one of numbers, and compilers for GPUs fuse (1), as well as the first of
(2), into one pass over memory, which is all that such a layer costs; a library of convolutions
brings its machinery for sums over channels, of which there are none. Otherwise each product is one
of matrices; that needs nothing of the backend, not even that it knows convolutions of this rank.

Cost: 2·n·|P|·|R|·c·o/g operations in every corner. Depthwise, the kernel gradient reads both maps
once for each tap, unless the compiler merges the sums.
"""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, add_up, by_group, taps_by_group, to_accumulator
from ._placing import Sides, place, spelled_out, take_back
from ._problem import Problem
from ._sliding import MAX_TAPS


def why_not(problem: Problem) -> str:
    """What keeps a corner from being a sum over taps; empty if nothing does."""
    if math.prod(problem.geometry.window) > MAX_TAPS:
        return f"there are more than {MAX_TAPS} taps to unroll"
    return ""


def shift_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: (1)."""
    x, kernel = to_accumulator(dtypes[2], x, kernel)
    taps = zip(_slices(x, geometry), taps_by_group(kernel, geometry.groups), strict=True)
    y = add_up(_forward(by_group(x_r, geometry.groups), k_r, precision) for x_r, k_r in taps)
    return y.reshape(x.shape[0], *geometry.output_size, -1).astype(dtypes[2])


def shift_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: the first of (2)."""
    kernel, y = to_accumulator(dtypes[0], kernel, y)
    sides, whole = spelled_out(geometry, padding=True)
    errors, rows = by_group(y, geometry.groups), (y.shape[0], *geometry.output_size)
    taps = zip(_places(whole), taps_by_group(kernel, geometry.groups), strict=True)
    x = add_up(place(_input_vjp(errors, k_r, precision).reshape(*rows, -1), at) for at, k_r in taps)
    return take_back(x, sides).astype(dtypes[0])


def shift_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: the second of (2)."""
    x, y = to_accumulator(dtypes[1], x, y)
    errors = by_group(y, geometry.groups)
    taps = [
        _kernel_vjp(by_group(x_r, geometry.groups), errors, precision)
        for x_r in _slices(x, geometry)
    ]
    return jnp.stack(taps).reshape(*geometry.window, -1, y.shape[-1]).astype(dtypes[1])


# One tap: x is (n, *output, g, c/g), k (c/g, g, o/g) and y (n, *output, g, o/g).


def _forward(x: Array, k: Array, precision: lax.PrecisionLike) -> Array:
    if len(k) == 1:
        return x * k[0]
    return jnp.einsum("...gc,cgo->...go", x, k, precision=precision)


def _input_vjp(y: Array, k: Array, precision: lax.PrecisionLike) -> Array:
    if len(k) == 1:
        return jnp.sum(y * k[0], axis=-1)
    return jnp.einsum("...go,cgo->...gc", y, k, precision=precision)


def _kernel_vjp(x: Array, y: Array, precision: lax.PrecisionLike) -> Array:
    if x.shape[-1] == 1:
        return jnp.sum(x * y, axis=range(x.ndim - 2))
    pixels = "abdefhijklm"[: x.ndim - 2]
    return jnp.einsum(f"{pixels}gc,{pixels}go->cgo", x, y, precision=precision)


def _slices(x: Array, geometry: Geometry) -> Iterator[Array]:
    """X_r of (1), for each tap r in row-major order."""
    sides, whole = spelled_out(geometry, padding=True)
    x = place(x, sides)
    strides = (1, *whole.strides, 1)
    for at in _places(whole):
        starts = (0, *(low for low, _, _ in at), 0)
        ends = (size - high for size, (_, high, _) in zip(whole.input_size, at, strict=True))
        yield lax.slice(x, starts, (x.shape[0], *ends, x.shape[-1]), strides)


def _places(whole: Geometry) -> Iterator[Sides]:
    """Where each tap's strided slice lies on the padded input."""
    for tap in np.ndindex(*whole.window):
        lows = [axis.d * r for r, axis in zip(tap, whole.axes(), strict=True)]
        reach = [axis.s * (axis.p - 1) + 1 for axis in whole.axes()]
        yield [
            (low, axis.i - low - length, axis.s - 1)
            for low, length, axis in zip(lows, reach, whole.axes(), strict=True)
        ]
