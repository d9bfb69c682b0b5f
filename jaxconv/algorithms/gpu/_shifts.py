"""Each contraction as a sum over taps: shift one array, multiply by another, add up.

    y[p] = Σ_r X_r[p] k[r],     X_r[p] = x[s·p + d·r - lo]                                     (1)
    x_bar = Σ_r X_rᵀ(y_bar k[r]ᵀ),          k_bar[r] = Σ_np X_r[n,p] y_bar[n,p]                (2)

X_r is a strided slice of the padded input. Its transpose X_rᵀ places a strided slice. In a
depthwise layer the products are element-wise, and compilers for GPUs fuse (1), as well as the first
of (2), into one pass over memory, which is all that such a layer costs. A library of convolutions
brings its machinery for sums over channels, of which there are none. Otherwise each product is one
of matrices. That needs nothing of the backend, not even convolutions of this rank.

Takes 2·n·|P|·|R|·c·o/g operations in every contraction. In a depthwise layer the kernel gradient
reads both maps once for each tap, unless the compiler merges the sums.
"""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm
from .._problem import Problem
from ..shared._arrays import add_up, split_groups, taps_by_group
from ..shared._dtypes import to_accumulator
from ..shared._padding import Sides, apply_dilation, pad_and_dilate, undo_pad_and_dilate
from ..shared._taps import MAX_TAPS
from ._hints import HINTS

MAX_UNROLLED = 8  # outputs of a channel


class Shifts(Algorithm):
    """(1) and (2), with all taps unrolled."""

    name = "shifts"
    hints = HINTS

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve) -> Output:
        """∂T/∂y: (1)."""
        geometry, x = spec.geometry, self.hints.row_major(x)
        x, kernel = to_accumulator(spec.dtypes.y, x, kernel)
        taps = zip(_slices(x, geometry), taps_by_group(kernel, geometry.groups), strict=True)
        y = add_up(
            _forward(split_groups(x_r, geometry.groups), k_r, spec.precision) for x_r, k_r in taps
        )
        return y.reshape(x.shape[0], *geometry.output_size, -1).astype(spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve) -> Input:
        """∂T/∂x: the first of (2). Without a stride it is (1) of the transposed convolution."""
        geometry, y = spec.geometry, self.hints.row_major(y)
        kernel, y = to_accumulator(spec.dtypes.x, kernel, y)
        if set(geometry.strides) | set(geometry.input_dilation) <= {1}:
            # XLA fuses any number of slices, but places few arrays in one loop.
            back, rotated = geometry.transposed(), taps_by_group(kernel, geometry.groups)[::-1]
            x = add_up(
                _input_vjp(split_groups(y_r, geometry.groups), k_r, spec.precision)
                for y_r, k_r in zip(_slices(y, back), rotated, strict=True)
            )
            return x.reshape(y.shape[0], *geometry.input_size, -1).astype(spec.dtypes.x)
        sides, whole = apply_dilation(geometry, and_padding=True)
        y_groups, shape = split_groups(y, geometry.groups), (y.shape[0], *geometry.output_size, -1)
        taps = zip(_places(whole), taps_by_group(kernel, geometry.groups), strict=True)
        x = add_up(
            pad_and_dilate(_input_vjp(y_groups, k_r, spec.precision).reshape(shape), place)
            for place, k_r in taps
        )
        return undo_pad_and_dilate(x, sides).astype(spec.dtypes.x)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve) -> Kernel:
        """∂T/∂k: the second of (2)."""
        geometry = spec.geometry
        x, y = to_accumulator(spec.dtypes.k, x, y)
        y_groups = split_groups(y, geometry.groups)
        taps = [
            _kernel_vjp(split_groups(x_r, geometry.groups), y_groups, spec.precision)
            for x_r in _slices(x, geometry)
        ]
        k = jnp.stack(taps).reshape(*geometry.window, -1, y.shape[-1])
        return k.astype(spec.dtypes.k)

    def why_not(self, problem: Problem) -> str:
        """Why it is not a sum over few taps; empty if it is."""
        if math.prod(problem.geometry.window) > MAX_TAPS:
            return f"there are more than {MAX_TAPS} taps to unroll"
        return ""


# One tap. x has the shape (n, *output, g, c/g), k (c/g, g, o/g) and y (n, *output, g, o/g).


def _forward(x: Array, k: Array, precision: lax.PrecisionLike) -> Array:
    if len(k) == 1:
        return x * k[0]
    return jnp.einsum("...gc,cgo->...go", x, k, precision=precision)


def _input_vjp(y: Array, k: Array, precision: lax.PrecisionLike) -> Array:
    if len(k) == 1:
        if y.shape[-1] > MAX_UNROLLED:
            return jnp.sum(y * k[0], axis=-1)
        # XLA would make a reduction a kernel of its own, and fuses these terms.
        return add_up(y[..., j] * k[0, :, j] for j in range(y.shape[-1]))
    return jnp.einsum("...go,cgo->...gc", y, k, precision=precision)


def _kernel_vjp(x: Array, y: Array, precision: lax.PrecisionLike) -> Array:
    if x.shape[-1] == 1:
        return jnp.sum(x * y, axis=range(x.ndim - 2))
    axes = "abdefhijklm"[: x.ndim - 2]
    return jnp.einsum(f"{axes}gc,{axes}go->cgo", x, y, precision=precision)


def _slices(x: Array, geometry: Geometry) -> Iterator[Array]:
    """X_r of (1), for each tap r in row-major order."""
    sides, whole = apply_dilation(geometry, and_padding=True)
    x = pad_and_dilate(x, sides)
    strides = (1, *whole.strides, 1)
    for place in _places(whole):
        starts = (0, *(low for low, _, _ in place), 0)
        ends = (size - high for size, (_, high, _) in zip(whole.input_size, place, strict=True))
        yield lax.slice(x, starts, (x.shape[0], *ends, x.shape[-1]), strides)


def _places(whole: Geometry) -> Iterator[Sides]:
    """What lies around and between each tap's strided slice of the padded input."""
    axes = list(whole.axes())
    for tap in np.ndindex(*whole.window):
        lows = [axis.d * r for r, axis in zip(tap, axes, strict=True)]
        reach = [axis.s * (axis.p - 1) + 1 for axis in axes]
        yield [
            (low, axis.i - low - length, axis.s - 1)
            for low, length, axis in zip(lows, reach, axes, strict=True)
        ]
