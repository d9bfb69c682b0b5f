"""Sums over the taps of all windows, and their transposes, for terms that depend on the tap.

A term is a function of the number of a tap, in row-major order, and of what that tap sees of some
arrays at every window. Few taps are unrolled, as slices without gather or scatter. Many would make
a program of thousands of operations: they go through a loop, in which the number is an array.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array, Input, Pooled
from ._arrays import add_up, sum_in_loop, zeros_of
from ._sliding import MAX_TAPS, all_taps, pad, padded, place_all_taps, reach

Term: TypeAlias = Callable[..., Array]


def sum_over_taps(term: Term, arrays: Sequence[Input], geometry: Geometry) -> Pooled:
    """y[p] = Σ_r term(r, *(a[s·p + d·r - lo] for a in arrays)); padding is seen as zero."""
    number_of_taps = math.prod(geometry.window)
    if number_of_taps <= MAX_TAPS:
        seen = zip(*(all_taps(a, geometry) for a in arrays), strict=True)
        return add_up(term(tap, *of_tap) for tap, of_tap in enumerate(seen))
    slabs = [padded(a, geometry)[0] for a in arrays]

    return sum_in_loop(
        lambda tap: term(tap, *(_seen_by(tap, a, geometry) for a in slabs)), number_of_taps
    )


def place_over_taps(term: Term, arrays: Sequence[Input], geometry: Geometry) -> Input:
    """x[i] = Σ term(r, *(what tap r sees)) over all windows p and taps r with s·p + d·r - lo = i.

    A term is an array over all windows. What falls on padding is dropped.
    """
    number_of_taps = math.prod(geometry.window)
    if number_of_taps <= MAX_TAPS:
        seen = [all_taps(a, geometry) for a in arrays]
        return place_all_taps(lambda tap: term(tap, *(a[tap] for a in seen)), geometry)
    slabs = [padded(a, geometry)[0] for a in arrays]

    def of_tap(tap):
        y = term(tap, *(_seen_by(tap, a, geometry) for a in slabs))
        gaps = [(0, 0, stride - 1) for stride in geometry.strides]
        return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *gaps, (0, 0, 0)])

    def place(tap, x):
        y, start = of_tap(tap), _start(tap, geometry)
        return lax.dynamic_update_slice(x, lax.dynamic_slice(x, start, y.shape) + y, start)

    like = jax.eval_shape(of_tap, jnp.zeros((), int))
    n, *_, c = like.shape
    unpadded = like.update(shape=(n, *geometry.input_size, c))
    whole = like.update(shape=jax.eval_shape(lambda x: padded(x, geometry)[0], unpadded).shape)
    x = lax.fori_loop(0, number_of_taps, place, zeros_of(whole))
    for axis, (size, (lo, _)) in enumerate(zip(geometry.input_size, geometry.padding, strict=True)):
        x = pad(x, axis, -lo, lo + size - whole.shape[axis + 1])
    return x


def _seen_by(tap: Array, padded: Array, geometry: Geometry) -> Array:
    """What a tap sees of an array that is padded already, at every window."""
    n, *_, c = padded.shape
    reached = (n, *(reach(axis, geometry) for axis in range(geometry.rank)), c)
    slab = lax.dynamic_slice(padded, _start(tap, geometry), reached)
    return lax.slice(slab, (0,) * slab.ndim, reached, (1, *geometry.strides, 1))


def _start(tap: Array, geometry: Geometry) -> list[Array]:
    """Where in the padded input the first window has its tap of this number."""
    offsets = jnp.unravel_index(tap, geometry.window)
    spaced = (d * r for d, r in zip(geometry.kernel_dilation, offsets, strict=True))
    zero = jnp.zeros_like(tap)
    return [zero, *spaced, zero]
