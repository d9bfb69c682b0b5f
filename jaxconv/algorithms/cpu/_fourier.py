"""Each contraction in a Fourier basis, where the trilinear form is diagonal in frequency.

Take a circle of L points on each axis. With stride and input dilation 1 the condition (G) reads

    [i + lo = p + d·r] = 1/|L| Σ_f exp(2πi f·(i + lo - d·r - p)/L)                              (1)

as long as L exceeds every |i + lo - d·r - p|, so that nothing wraps around. Put (1) into (T), and
it becomes a sum over frequencies of products of three transformed arrays,

    T = Σ_f w[f] Re( x̂[f,c,n] k̂[f,c,o] ŷ[f,o,n] ),        summed over n, c and o               (2)

    x̂[f] = Σ_i exp(2πi f·(i+lo)/L) x[i],   k̂[f] = Σ_r exp(-2πi f·d·r/L) k[r],
    ŷ[f] = Σ_p exp(-2πi f·p/L) y[p].

All arrays are real, so f and -f are conjugate. One of the two is kept, with w = 2/|L|, or 1/|L|
where they coincide. Each contraction is then two transforms, a matrix product for each frequency,
and the transform back, which is the transpose of the empty slot's transform.

A complex element is kept as two real ones. The transforms are dense matrix products, because the
maps are small, and nothing on a CPU runs as fast as a matrix product. With the examples innermost,
as (frequency, channel, n), every array comes out of one product in the order that the next one
reads.

For F = |L|/2 frequencies the transforms take 4·F·(|I|·c + |P|·o)·n operations and the products
8·F·n·c·o, against 2·|P|·|R|·n·c·o for the direct sum. The products no longer depend on the window,
so this is faster where windows and channels are large. Within one program the compiler computes a
transform once: that of x serves the forward pass and the kernel gradient, that of y both gradients.

Every frequency depends on every element. Rounding errors are therefore relative to the norms of the
operands and not to each element's own terms, and a NaN or an infinity in one element reaches its
whole example, where the direct sum keeps it within a window. So this algorithm runs only where
`impl="fourier"` asks for it.

Source: products in a Fourier basis are those of Mathieu, Henaff & LeCun, "Fast training of
convolutional networks through FFTs", 2014, arXiv:1312.5851. (2) is derived here.
"""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array, Input, Kernel, Output
from .._algorithm import Algorithm, Solve
from .._problem import Problem
from ..shared._dtypes import to_accumulator
from ._rates import COPIED, LAUNCH, thin

# Beyond these, dense transforms cost more than they save, and their matrices fill the memory.
MAX_POINTS = 1024

# By how much an operation of the transforms is slower than one of a large product, the channels
# that halve the speed of the products, and the kernels that are launched.
_TRANSFORM, _HALF_SPEED, _LAUNCHES = 1.2, 8, 3
# The share of a forward pass's time that is its own. In training the transforms of x and k serve
# the gradients, too.
_FORWARD_SHARE = 0.8


class Fourier(Algorithm):
    """(2)."""

    name = "fourier"
    transforms = True

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y: transform x and k, multiply, transform back."""
        geometry, precision = spec.geometry, spec.precision
        x, kernel = to_accumulator(spec.dtypes.y, x, kernel)
        x_hat = _transform(_examples_last(x), Slot.INPUT, geometry, precision)
        k_hat = _transform_kernel(kernel, geometry, precision)
        product = _as_real_matrices(jnp.swapaxes(k_hat, -1, -2)) @ x_hat
        y = _transform_back(product, Slot.OUTPUT, geometry, precision)
        return _examples_first(y, geometry.output_size).astype(spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: transform k and y, multiply, transform back."""
        geometry, precision = spec.geometry, spec.precision
        kernel, y = to_accumulator(spec.dtypes.x, kernel, y)
        y_hat = _transform(_examples_last(y), Slot.OUTPUT, geometry, precision)
        k_hat = _transform_kernel(kernel, geometry, precision)
        x = _transform_back(_as_real_matrices(k_hat) @ y_hat, Slot.INPUT, geometry, precision)
        return _examples_first(x, geometry.input_size).astype(spec.dtypes.x)

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k: transform x and y, multiply and add up the examples, transform back."""
        geometry, precision = spec.geometry, spec.precision
        x, y = to_accumulator(spec.dtypes.k, x, y)
        c, o = x.shape[-1], y.shape[-1]
        x_hat = _transform(_examples_last(x), Slot.INPUT, geometry, precision)
        y_hat = _transform(_examples_last(y), Slot.OUTPUT, geometry, precision)
        over_examples, by_frequency = ((2,), (2,)), ((0,), (0,))
        parts = lax.dot_general(x_hat, y_hat, (over_examples, by_frequency), precision=precision)
        parts = parts.reshape(-1, 2, c, 2, o)
        real = parts[:, 0, :, 0] - parts[:, 1, :, 1]
        imaginary = parts[:, 0, :, 1] + parts[:, 1, :, 0]
        product = jnp.stack([real, imaginary], axis=1).reshape(-1, 2 * c, o)
        k = _transform_back(product, Slot.KERNEL, geometry, precision)  # (taps, c, o)
        return k.reshape(*geometry.window, c, o).astype(spec.dtypes.k)

    def why_not(self, problem: Problem) -> str:
        """Why (1) does not hold; empty if it does."""
        geometry = problem.geometry
        once = (1,) * geometry.rank
        if geometry.strides != once or geometry.input_dilation != once:
            return "there are strides or input dilation"
        if geometry.groups > 1:
            return "there are feature groups"
        if not geometry.rank:
            return "there is no spatial axis"
        if math.prod(circle(geometry)) > MAX_POINTS:
            return f"its dense transforms would have more than {MAX_POINTS} points"
        return ""

    def cost(self, problem: Problem) -> float:
        """Dense transforms, and a product for each frequency."""
        slot, geometry, n, c, o, _ = problem
        frequencies = math.prod(circle(geometry)) / 2
        inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
        maps = inputs * c * n + outputs * o * n + math.prod(geometry.window) * c * o
        products = 8 * frequencies * n * c * o * thin(c, _HALF_SPEED) * thin(o, _HALF_SPEED)
        operations = 4 * frequencies * maps + products
        # The transformed maps, and the kernel also as real matrices.
        elements = 2 * frequencies * ((c + o) * n + 3 * c * o) + maps
        cost = _LAUNCHES * LAUNCH + _TRANSFORM * operations + COPIED * elements
        return _FORWARD_SHARE * cost if slot == Slot.OUTPUT else cost


def circle(geometry: Geometry) -> tuple[int, ...]:
    """The smallest L, for each axis, on which nothing wraps around."""
    return tuple(max(a.lo + a.i, a.p + a.d * (a.r - 1) - a.lo) for a in geometry.axes())


def _examples_last(a: Array) -> Array:
    """`(n, *spatial, c)` to `(points, c, n)`."""
    n, *spatial, c = a.shape
    return a.reshape(n, math.prod(spatial), c).transpose(1, 2, 0)


def _examples_first(a: Array, spatial: tuple[int, ...]) -> Array:
    """`(points, c, n)` to `(n, *spatial, c)`."""
    _, c, n = a.shape
    return a.transpose(2, 0, 1).reshape(n, *spatial, c)


def _transform(a: Array, slot: Slot, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """`(points, c, n)` to `(frequency, real and imaginary · c, n)`."""
    points, c, n = a.shape
    matrix = jnp.asarray(_basis(slot, geometry), a.dtype)
    out = lax.dot(matrix, a.reshape(points, c * n), precision=precision)
    return out.reshape(-1, 2 * c, n)


def _transform_kernel(k: Array, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """`(*window, c, o)` to `(frequency, real and imaginary, c, o)`."""
    c, o = k.shape[-2:]
    out = _transform(k.reshape(-1, c, o), Slot.KERNEL, geometry, precision)
    return out.reshape(-1, 2, c, o)


def _transform_back(
    a: Array, slot: Slot, geometry: Geometry, precision: lax.PrecisionLike
) -> Array:
    """`(frequency, real and imaginary · c, n)` to `(points, c, n)`: Σ_f w[f] Re(a[f] basis[f])."""
    frequencies, c, n = a.shape[0], a.shape[1] // 2, a.shape[2]
    basis = _basis(slot, geometry).reshape(frequencies, 2, -1)
    back = basis * np.array([1, -1])[:, None] * _weights(circle(geometry))[:, None, None]
    matrix = jnp.asarray(back.reshape(2 * frequencies, -1).T, a.dtype)
    out = lax.dot(matrix, a.reshape(2 * frequencies, c * n), precision=precision)
    return out.reshape(-1, c, n)


def _as_real_matrices(k_hat: Array) -> Array:
    """Complex `(frequency, 2, a, b)` as real `(frequency, 2·a, 2·b)` that multiply alike."""
    real, imaginary = k_hat[:, 0], k_hat[:, 1]
    top = jnp.concatenate([real, -imaginary], axis=-1)
    bottom = jnp.concatenate([imaginary, real], axis=-1)
    return jnp.concatenate([top, bottom], axis=-2)


@lru_cache(maxsize=256)
def _basis(slot: Slot, geometry: Geometry) -> np.ndarray:
    """Cosines and sines of a slot's transform, `(2·frequency, points)`, in float64."""
    size = circle(geometry)
    positions = [_positions(slot, geometry, axis) for axis in range(geometry.rank)]
    grid = np.stack(np.meshgrid(*positions, indexing="ij"), axis=-1).reshape(-1, geometry.rank)
    # Full turns are removed from the angles in integers, so that they keep all their digits.
    full = math.lcm(*size)
    per_axis = np.array([full // length for length in size])
    turns = (_frequencies(size) * per_axis) @ grid.T % full
    angle = 2 * np.pi * turns / full
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, len(grid))


def _positions(slot: Slot, geometry: Geometry, axis: int) -> np.ndarray:
    """Where a slot's points lie on the circle, with the sign that they have in (1)."""
    if slot is Slot.INPUT:
        return np.arange(geometry.input_size[axis]) + geometry.padding[axis][0]
    if slot is Slot.KERNEL:
        return -geometry.kernel_dilation[axis] * np.arange(geometry.window[axis])
    return -np.arange(geometry.output_size[axis])


@lru_cache(maxsize=256)
def _frequencies(size: tuple[int, ...]) -> np.ndarray:
    """One of each pair f, -f: the first in order, `(frequency, rank)`."""
    every = np.array(list(np.ndindex(*size)))
    opposite = -every % size
    return every[[tuple(f) <= tuple(g) for f, g in zip(every, opposite, strict=True)]]


@lru_cache(maxsize=256)
def _weights(size: tuple[int, ...]) -> np.ndarray:
    """w of (2): how many frequencies each kept one stands for, divided by |L|."""
    kept = _frequencies(size)
    pairs = 2 - (kept == -kept % size).all(axis=1)
    return pairs / math.prod(size)
