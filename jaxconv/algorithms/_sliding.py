"""What the taps of a window see, and the transpose: shifted slices, without gather or scatter.

At the output position p tap r sees the padded input at s·p + d·r. Over all p that is one strided
slice, so whatever runs over windows is written with R slices an axis.

Backwards, tap r of output p writes to s·p + d·r = s·(p + d·r // s) + (d·r mod s). All writes with
one remainder φ = d·r mod s, a *phase*, land on one of s interleaved grids, shifted by whole steps.
A phase is thus a sum of shifted arrays, and the phases interleaved are the result: no two terms
race, so the order of additions, and every bit, is fixed.

Arrays are `(n, *spatial, …)`; spatial axes are counted from 0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Axis, Geometry
from .._typing import Array
from ._placing import Sides

# Slices are unrolled, but a window that spans an image would make a program of thousands.
MAX_TAPS = 128


def taps(x: Array, axis: int, geometry: Geometry) -> list[Array]:
    """The strided slice that each tap of one spatial axis sees, lowest tap first."""
    x, geometry = extended(x, [axis], geometry)
    return _slices(x, axis, geometry)


def stacked_taps(x: Array, axis: int, geometry: Geometry) -> Array:
    """What `taps` sees of an axis that is padded but not cropped, on a new axis before it."""
    copies = shifted_copies(x, axis, geometry.window[axis], geometry.kernel_dilation[axis])
    first, stride = _first(axis, geometry), geometry.strides[axis]
    return lax.slice_in_dim(copies, first, first + reach(axis, geometry), stride, axis=axis + 2)


def shifted_copies(x: Array, axis: int, count: int, shift: int) -> Array:
    """a[…, r, q, …] = x[…, q + shift·r, …] on one axis, for r < count and q < size + shift.

    Counted on from the start where that passes the end, and the other way round. These are rows of
    size + shift numbers out of x repeated end to end: one loop, where as many slices would be as
    many branches in it, and take twice as long to compile.
    """
    axis += 1
    *before, size = x.shape[: axis + 1]
    behind = x.shape[axis + 1 :]
    repeats = -(-count * (size + shift) // size)
    repeated = lax.broadcast_in_dim(
        x, (*before, repeats, size, *behind), [a + (a >= axis) for a in range(x.ndim)]
    )
    end_to_end = repeated.reshape(*before, repeats * size, *behind)
    rows = lax.slice_in_dim(end_to_end, 0, count * (size + shift), axis=axis)
    return rows.reshape(*before, count, size + shift, *behind)


def taps_between(x: Array, axis: int, geometry: Geometry, *, fill: int | float) -> list[Array]:
    """As `taps`, for element-wise operations to follow, and with padding of any value.

    XLA for CPUs would write a `pad` out before the loop that reads it. Through a concatenation it
    reads `x` itself, if only one loop does. And where windows overlap it would compute `x` again
    for each of those that see it, but for the barrier.
    """

    def filled(size):
        shape = [*x.shape]
        shape[axis + 1] = size
        return [jnp.full(shape, fill, x.dtype)] if size > 0 else []

    lo, hi = _sides(axis, geometry, x.shape[axis + 1])
    if geometry.kernel_dilation[axis] * (geometry.window[axis] - 1) >= geometry.strides[axis]:
        x = lax.optimization_barrier(x)
    parts = [*filled(lo), x, *filled(hi)]
    whole = lax.concatenate(parts, axis + 1) if len(parts) > 1 else x
    return _slices(whole, axis, geometry)


def place_taps(term: Callable[[int], Array], axis: int, geometry: Geometry) -> Array:
    """Add up `term(r)`, placed where tap r of each window lies: the transpose of `taps`."""
    stride, dilation = geometry.strides[axis], geometry.kernel_dilation[axis]
    positions, (lo, _) = geometry.output_size[axis], geometry.padding[axis]
    size = geometry.input_size[axis]
    steps = -(-(lo + size) // stride)
    phases: dict[int, Array] = {}
    for r in range(geometry.window[axis]):
        shift, phase = divmod(dilation * r, stride)
        shifted = pad(term(r), axis, shift, steps - positions - shift)
        phases[phase] = phases[phase] + shifted if phase in phases else shifted
    whole = interleaved(phases, axis, stride)
    return pad(whole, axis, -lo, lo + size - steps * stride)


def all_taps(x: Array, geometry: Geometry) -> list[Array]:
    """What each tap of all spatial axes sees, in row-major order of the taps."""
    x, geometry = extended(x, range(geometry.rank), geometry)
    seen = [x]
    for axis in range(geometry.rank):
        seen = [part for whole in seen for part in taps(whole, axis, geometry)]
    return seen


def inside(tap: int, axis: Axis) -> range:
    """The outputs at which a tap meets a pixel and not padding: 0 <= s·p + d·r - lo < i."""
    first = axis.d * tap - axis.lo
    last = (axis.i - 1 - first) // axis.s
    return range(max(0, -(first // axis.s)), min(axis.p, last + 1))


def taps_inside(x: Array, geometry: Geometry) -> Iterator[tuple[Array, Sides]]:
    """What each tap sees of `x` itself, and how many outputs around those meet padding instead.

    In row-major order of the taps, each of which must meet a pixel somewhere.
    """
    axes = list(geometry.axes())
    behind = x.ndim - 1 - geometry.rank
    strides = (1, *geometry.strides, *(1,) * behind)
    for tap in np.ndindex(*geometry.window):
        starts, ends, sides = [0], [x.shape[0]], [(0, 0, 0)]
        for r, axis in zip(tap, axes, strict=True):
            met = inside(r, axis)
            first = axis.s * met.start + axis.d * r - axis.lo
            starts.append(first)
            ends.append(first + axis.s * (len(met) - 1) + 1)
            sides.append((met.start, axis.p - met.stop, 0))
        starts += [0] * behind
        yield lax.slice(x, starts, (*ends, *x.shape[x.ndim - behind :]), strides), sides


def place_all_taps(term: Callable[[int], Array], geometry: Geometry) -> Array:
    """Add up `term(number)` of all taps, where each lies: the transpose of `all_taps`."""

    def place(axis: int, number: int) -> Array:
        if axis == geometry.rank:
            return term(number)
        taps = geometry.window[axis]
        return place_taps(lambda r: place(axis + 1, number * taps + r), axis, geometry)

    return place(0, 0)


def padded(x: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """Pad or crop all spatial axes to what the taps see; the geometry without padding."""
    for axis in range(geometry.rank):
        x = pad_to_taps(x, axis, geometry)
    none = ((0, 0),) * geometry.rank
    return x, replace(geometry, input_size=x.shape[1 : 1 + geometry.rank], padding=none)


def extended(x: Array, axes: Iterable[int], geometry: Geometry) -> tuple[Array, Geometry]:
    """Pad some spatial axes, at once, where the taps see beyond them, and crop nothing.

    Also the geometry that is left: its taps see the same, without padding on those axes.
    """
    config, sizes, padding = [(0, 0, 0)] * x.ndim, [*geometry.input_size], [*geometry.padding]
    for axis in axes:
        lo, hi = _sides(axis, geometry, x.shape[axis + 1])
        config[axis + 1] = (max(lo, 0), max(hi, 0), 0)
        sizes[axis] = x.shape[axis + 1] + max(lo, 0) + max(hi, 0)
        padding[axis] = (min(lo, 0), 0)
    geometry = replace(geometry, input_size=tuple(sizes), padding=tuple(padding))
    return lax.pad(x, jnp.zeros((), x.dtype), config), geometry


def interleaved(phases: Mapping[int, Array], axis: int, step: int) -> Array:
    """One array out of `phases`, equal in shape: a[step·m + q] = phases[q][m], zero without q."""
    some = next(iter(phases.values()))
    if step == 1:
        return some
    filled = [phases.get(phase, jnp.zeros_like(some)) for phase in range(max(phases) + 1)]
    stacked = pad(jnp.stack(filled, axis + 2), axis + 1, 0, step - len(filled))
    whole = step * some.shape[axis + 1]
    return stacked.reshape(*some.shape[: axis + 1], whole, *some.shape[axis + 2 :])


def every(a: Array, axis: int, start: int, step: int, count: int) -> Array:
    """a[start + step·m] for m < count; zero where that lies outside."""
    end = start + step * (count - 1) + 1
    a = pad(a, axis, -start, end - a.shape[axis + 1])
    return lax.slice_in_dim(a, 0, end - start, step, axis=axis + 1)


def pad_to_taps(x: Array, axis: int, geometry: Geometry) -> Array:
    """Pad or crop one spatial axis to what the taps of all windows see."""
    return pad(x, axis, *_sides(axis, geometry, x.shape[axis + 1]))


def _slices(padded: Array, axis: int, geometry: Geometry) -> list[Array]:
    """`taps` of an axis that is padded but not cropped: XLA for CPUs would write out a crop."""
    stride, dilation = geometry.strides[axis], geometry.kernel_dilation[axis]
    first, seen = _first(axis, geometry), reach(axis, geometry)
    starts = (first + dilation * r for r in range(geometry.window[axis]))
    return [lax.slice_in_dim(padded, i, i + seen, stride, axis=axis + 1) for i in starts]


def _first(axis: int, geometry: Geometry) -> int:
    """Where the lowest tap begins on an axis that is padded but not cropped."""
    return max(-geometry.padding[axis][0], 0)


def _sides(axis: int, geometry: Geometry, size: int) -> tuple[int, int]:
    """Pixels to put before and after an axis of `size`, negative to crop, for the taps to see."""
    lo, _ = geometry.padding[axis]
    last = geometry.kernel_dilation[axis] * (geometry.window[axis] - 1) + reach(axis, geometry)
    return lo, last - lo - size


def reach(axis: int, geometry: Geometry) -> int:
    """Length from the first to the last position that one tap sees."""
    return geometry.strides[axis] * (geometry.output_size[axis] - 1) + 1


def pad(x: Array, axis: int, lo: int, hi: int, fill: int | float = 0, gaps: int = 0) -> Array:
    """Pad one spatial axis, or crop it where `lo` or `hi` is negative."""
    if not (lo or hi or gaps):
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis + 1] = (lo, hi, gaps)
    return lax.pad(x, jnp.asarray(fill, x.dtype), config)
