"""Sums over the taps of all windows, and their transposes, for terms that depend on the tap.

A term is a function of the tap's number, in row-major order, and of what that tap sees of some
arrays at every window. Few taps are unrolled, as slices without gather or scatter. Many taps would
make a program of thousands of operations. They go through a loop, in which the number is an array.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array, Input, Pooled
from ._arrays import add_up, sum_in_loop, zeros_of
from ._padding import pad_spatial
from ._taps import MAX_TAPS, all_taps, pad_or_crop_to_taps, place_all_taps, reach

Term: TypeAlias = Callable[..., Array]


def sum_over_taps(term: Term, arrays: Sequence[Input], geometry: Geometry) -> Pooled:
    """y[p] = Σ_r term(r, *(a[s·p + d·r - lo] for a in arrays)), where padding is seen as zero."""
    number_of_taps = math.prod(geometry.window)
    if number_of_taps <= MAX_TAPS:
        seen = zip(*(all_taps(a, geometry) for a in arrays), strict=True)
        return add_up(term(tap, *of_tap) for tap, of_tap in enumerate(seen))
    padded = [pad_or_crop_to_taps(a, geometry)[0] for a in arrays]

    return sum_in_loop(
        lambda tap: term(tap, *(_seen_by(tap, a, geometry) for a in padded)), number_of_taps
    )


def place_over_taps(term: Term, arrays: Sequence[Input], geometry: Geometry) -> Input:
    """x[i] = Σ term(r, *(what tap r sees)) over all windows p and taps r with s·p + d·r - lo = i.

    A term is an array over all windows. What falls on padding is dropped.
    """
    number_of_taps = math.prod(geometry.window)
    if number_of_taps <= MAX_TAPS:
        seen = [all_taps(a, geometry) for a in arrays]
        return place_all_taps(lambda tap: term(tap, *(a[tap] for a in seen)), geometry)
    padded = [pad_or_crop_to_taps(a, geometry)[0] for a in arrays]

    def dilated_term(tap):
        y = term(tap, *(_seen_by(tap, a, geometry) for a in padded))
        gaps = [(0, 0, stride - 1) for stride in geometry.strides]
        return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *gaps, (0, 0, 0)])

    def add(tap, x):
        y, start = dilated_term(tap), _start(tap, geometry)
        return lax.dynamic_update_slice(x, lax.dynamic_slice(x, start, y.shape) + y, start)

    like = jax.eval_shape(dilated_term, jnp.zeros((), int))
    n, *_, c = like.shape
    unpadded = like.update(shape=(n, *geometry.input_size, c))
    shape = jax.eval_shape(lambda x: pad_or_crop_to_taps(x, geometry)[0], unpadded).shape
    x = lax.fori_loop(0, number_of_taps, add, zeros_of(like.update(shape=shape)))
    for axis, (size, (lo, _)) in enumerate(zip(geometry.input_size, geometry.padding, strict=True)):
        x = pad_spatial(x, axis, -lo, lo + size - shape[axis + 1])
    return x


def _seen_by(tap: Array, padded: Array, geometry: Geometry) -> Array:
    """What a tap sees, at every window, of an array that is padded to the taps."""
    n, *_, c = padded.shape
    reached = (n, *(reach(axis, geometry) for axis in range(geometry.rank)), c)
    whole = lax.dynamic_slice(padded, _start(tap, geometry), reached)
    return lax.slice(whole, (0,) * whole.ndim, reached, (1, *geometry.strides, 1))


def _start(tap: Array, geometry: Geometry) -> list[Array]:
    """Where the first window's tap of this number lies in the padded input."""
    offsets = jnp.unravel_index(tap, geometry.window)
    spaced = (d * r for d, r in zip(geometry.kernel_dilation, offsets, strict=True))
    zero = jnp.zeros_like(tap)
    return [zero, *spaced, zero]
