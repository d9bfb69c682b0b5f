"""Each corner in a Fourier basis, where the trilinear form is diagonal in frequency.

Take a circle of L points on each axis. With stride and input dilation 1 the condition (G) reads

    [i + lo = p + d·r] = 1/|L| Σ_f exp(2πi f·(i + lo - d·r - p)/L)                              (1)

as long as L exceeds every |i + lo - d·r - p|, so that nothing wraps around. Put (1) into (T), and
it becomes a sum over frequencies of products of three transformed arrays,

    T = Σ_f w[f] Re( x̂[f,c,n] k̂[f,c,o] ŷ[f,o,n] ),        summed over n, c and o               (2)

    x̂[f] = Σ_i exp(2πi f·(i+lo)/L) x[i],   k̂[f] = Σ_r exp(-2πi f·d·r/L) k[r],
    ŷ[f] = Σ_p exp(-2πi f·p/L) y[p].

All arrays are real, so f and -f are conjugate: one of the two is kept, with w = 2/|L|, or 1/|L|
where they coincide. Leave one of the three out, and each corner is two transforms, a matrix product
for each frequency, and the transform back, which is the transpose of the one that was left out.

A complex number is kept as two real ones, and the transforms are dense matrix products: the maps
are small, and nothing on a CPU runs like a matrix product. With the examples innermost, as
(frequency, channel, n), every array comes out of one product the way the next one takes it.

Cost, for F = |L|/2 frequencies: 4·F·(|I|·c + |P|·o)·n operations for the transforms and 8·F·n·c·o
for the products, against 2·|P|·|R|·n·c·o for the direct sum: the products no longer know the
window, so this wins where windows and channels are large. Within one program the compiler computes
a transform
once: that of x serves the forward pass and the kernel gradient, that of the error both gradients.

Every frequency sees every point. Rounding errors are therefore relative to the norms of the
operands and not to each element's own terms, and a NaN or an infinity in one pixel reaches all
pixels of its example, where the direct sum keeps it within a window. So this algorithm runs only
where `impl="fourier"` asks for it.
"""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Kernel, Output
from ._arrays import Dtypes, to_accumulator
from ._problem import Problem

# Beyond these, dense transforms cost more than they save, and their matrices fill the memory.
MAX_POINTS = 1024


def fourier_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: transform x and k, multiply, transform back."""
    x, kernel = to_accumulator(dtypes[2], x, kernel)
    x_hat = _transform(_examples_last(x), "x", geometry, precision)
    k_hat = _transform_kernel(kernel, geometry, precision)
    product = _as_real_matrices(jnp.swapaxes(k_hat, -1, -2)) @ x_hat
    y = _transform_back(product, "y", geometry, precision)
    return _examples_first(y, geometry.output_size).astype(dtypes[2])


def fourier_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: transform k and y, multiply, transform back."""
    kernel, y = to_accumulator(dtypes[0], kernel, y)
    y_hat = _transform(_examples_last(y), "y", geometry, precision)
    k_hat = _transform_kernel(kernel, geometry, precision)
    x = _transform_back(_as_real_matrices(k_hat) @ y_hat, "x", geometry, precision)
    return _examples_first(x, geometry.input_size).astype(dtypes[0])


def fourier_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: transform x and y, multiply and add up the examples, transform back."""
    x, y = to_accumulator(dtypes[1], x, y)
    c, o = x.shape[-1], y.shape[-1]
    x_hat = _transform(_examples_last(x), "x", geometry, precision)
    y_hat = _transform(_examples_last(y), "y", geometry, precision)
    over_examples, by_frequency = ((2,), (2,)), ((0,), (0,))
    parts = lax.dot_general(x_hat, y_hat, (over_examples, by_frequency), precision=precision)
    parts = parts.reshape(-1, 2, c, 2, o)
    real = parts[:, 0, :, 0] - parts[:, 1, :, 1]
    imaginary = parts[:, 0, :, 1] + parts[:, 1, :, 0]
    product = jnp.stack([real, imaginary], axis=1).reshape(-1, 2 * c, o)
    k = _transform_back(product, "k", geometry, precision)  # (taps, c, o)
    return k.reshape(*geometry.window, c, o).astype(dtypes[1])


def why_not(problem: Problem) -> str:
    """What keeps (1) from holding; empty if nothing does."""
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


def circle(geometry: Geometry) -> tuple[int, ...]:
    """The smallest L, for each axis, on which nothing wraps around."""
    return tuple(max(lo + i, p + d * (r - 1) - lo) for i, r, p, _, lo, _, d in geometry.axes())


def _examples_last(a: Array) -> Array:
    """`(n, *spatial, c)` to `(points, c, n)`."""
    n, *spatial, c = a.shape
    return a.reshape(n, math.prod(spatial), c).transpose(1, 2, 0)


def _examples_first(a: Array, spatial: tuple[int, ...]) -> Array:
    """`(points, c, n)` to `(n, *spatial, c)`."""
    _, c, n = a.shape
    return a.transpose(2, 0, 1).reshape(n, *spatial, c)


def _transform(a: Array, slot: str, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """`(points, c, n)` to `(frequency, real and imaginary · c, n)`."""
    points, c, n = a.shape
    matrix = jnp.asarray(_basis(slot, geometry), a.dtype)
    out = lax.dot(matrix, a.reshape(points, c * n), precision=precision)
    return out.reshape(-1, 2 * c, n)


def _transform_kernel(k: Array, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """`(*window, c, o)` to `(frequency, real and imaginary, c, o)`."""
    c, o = k.shape[-2:]
    out = _transform(k.reshape(-1, c, o), "k", geometry, precision)
    return out.reshape(-1, 2, c, o)


def _transform_back(a: Array, slot: str, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
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
def _basis(slot: str, geometry: Geometry) -> np.ndarray:
    """Cosines and sines of a slot's transform, `(2·frequency, points)`, in float64."""
    size = circle(geometry)
    positions = [_positions(slot, geometry, axis) for axis in range(geometry.rank)]
    grid = np.stack(np.meshgrid(*positions, indexing="ij"), axis=-1).reshape(-1, geometry.rank)
    # Turns are reduced to [0, 1) as integers: the angles keep all their digits.
    full = math.lcm(*size)
    per_axis = np.array([full // length for length in size])
    turns = (_frequencies(size) * per_axis) @ grid.T % full
    angle = 2 * np.pi * turns / full
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, len(grid))


def _positions(slot: str, geometry: Geometry, axis: int) -> np.ndarray:
    """Where a slot's points lie on the circle, with the sign that they have in (1)."""
    if slot == "x":
        return np.arange(geometry.input_size[axis]) + geometry.padding[axis][0]
    if slot == "k":
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
    """w of (2): how many frequencies each kept one stands for, over |L|."""
    kept = _frequencies(size)
    pairs = 2 - (kept == -kept % size).all(axis=1)
    return pairs / math.prod(size)
