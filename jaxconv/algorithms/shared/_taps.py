"""What the taps of a window see, and the transpose: shifted slices, without gather or scatter.

At the output position p, tap r sees the padded input at s·p + d·r. Over all p that is one strided
slice. So every operation on windows can be written with R slices an axis.

In the other direction, tap r of output p writes to

    s·p + d·r = s·(p + d·r // s) + (d·r mod s).

All writes with one remainder φ = d·r mod s, a *phase*, go to one of s interleaved grids, shifted by
whole steps. Each phase is a sum of shifted arrays, and interleaving the phases gives the result. No
two terms race for an element, so the order of additions is fixed, and with it every bit.

Arrays are `(n, *spatial, …)`. Spatial axes are counted from 0.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._typing import Array
from ._hints import Hints
from ._padding import pad_spatial

# The slices of more taps than this would make a program of thousands of operations.
MAX_TAPS = 128


def taps(x: Array, axis: int, geometry: Geometry) -> list[Array]:
    """The strided slice that each tap of one spatial axis sees, lowest tap first."""
    x, geometry = pad_for_taps(x, [axis], geometry)
    return _slices(x, axis, geometry)


def taps_filled(
    x: Array, axis: int, geometry: Geometry, *, fill: int | float, hints: Hints
) -> list[Array]:
    """As `taps`, with padding of any value, for element-wise operations to follow."""
    lo, hi = sides_seen(axis, geometry, x.shape[axis + 1])
    if geometry.kernel_dilation[axis] * (geometry.window[axis] - 1) >= geometry.strides[axis]:
        # Windows overlap. Without a hint XLA's CPU compiler would compute x again for each.
        x = hints.separate(x)
    whole = hints.pad(x, axis + 1, max(lo, 0), max(hi, 0), fill)
    return _slices(whole, axis, geometry)


def all_taps(x: Array, geometry: Geometry) -> list[Array]:
    """What each tap of all spatial axes sees, in row-major order of the taps."""
    x, geometry = pad_for_taps(x, range(geometry.rank), geometry)
    seen = [x]
    for axis in range(geometry.rank):
        seen = [part for whole in seen for part in taps(whole, axis, geometry)]
    return seen


def place_taps(term: Callable[[int], Array], axis: int, geometry: Geometry) -> Array:
    """Add up `term(r)`, placed where tap r of each window lies: the transpose of `taps`."""
    stride, dilation = geometry.strides[axis], geometry.kernel_dilation[axis]
    positions, (lo, _) = geometry.output_size[axis], geometry.padding[axis]
    size = geometry.input_size[axis]
    steps = -(-(lo + size) // stride)
    phases: dict[int, Array] = {}
    for r in range(geometry.window[axis]):
        shift, phase = divmod(dilation * r, stride)
        shifted = pad_spatial(term(r), axis, shift, steps - positions - shift)
        phases[phase] = phases[phase] + shifted if phase in phases else shifted
    whole = interleaved(phases, axis, stride)
    return pad_spatial(whole, axis, -lo, lo + size - steps * stride)


def place_all_taps(term: Callable[[int], Array], geometry: Geometry) -> Array:
    """Add up `term(number)` of all taps, where each lies: the transpose of `all_taps`."""

    def place(axis: int, number: int) -> Array:
        if axis == geometry.rank:
            return term(number)
        taps = geometry.window[axis]
        return place_taps(lambda r: place(axis + 1, number * taps + r), axis, geometry)

    return place(0, 0)


def pad_or_crop_to_taps(
    x: Array, geometry: Geometry, fill: int | float = 0
) -> tuple[Array, Geometry]:
    """Pad or crop all spatial axes to what the taps see; also the geometry without padding."""
    sides = [sides_seen(axis, geometry, x.shape[axis + 1]) for axis in range(geometry.rank)]
    if any(map(any, sides)):
        config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in sides)]
        config += [(0, 0, 0)] * (x.ndim - len(config))
        x = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    none = ((0, 0),) * geometry.rank
    return x, replace(geometry, input_size=x.shape[1 : 1 + geometry.rank], padding=none)


def pad_for_taps(x: Array, axes: Iterable[int], geometry: Geometry) -> tuple[Array, Geometry]:
    """Pad some spatial axes where the taps see beyond them, without cropping; also the geometry.

    The taps of that geometry see the same elements. Its axes have no positive padding.
    """
    config, sizes, padding = [(0, 0, 0)] * x.ndim, [*geometry.input_size], [*geometry.padding]
    for axis in axes:
        lo, hi = sides_seen(axis, geometry, x.shape[axis + 1])
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
    stacked = pad_spatial(jnp.stack(filled, axis + 2), axis + 1, 0, step - len(filled))
    whole = step * some.shape[axis + 1]
    return stacked.reshape(*some.shape[: axis + 1], whole, *some.shape[axis + 2 :])


def every(a: Array, axis: int, start: int, step: int, count: int) -> Array:
    """a[start + step·m] for m < count, zero where that lies outside."""
    end = start + step * (count - 1) + 1
    a = pad_spatial(a, axis, -start, end - a.shape[axis + 1])
    return lax.slice_in_dim(a, 0, end - start, step, axis=axis + 1)


def sides_seen(axis: int, geometry: Geometry, size: int) -> tuple[int, int]:
    """What to pad on both sides of an axis of `size`, negative to crop, for the taps to see."""
    lo, _ = geometry.padding[axis]
    last = geometry.kernel_dilation[axis] * (geometry.window[axis] - 1) + reach(axis, geometry)
    return lo, last - lo - size


def reach(axis: int, geometry: Geometry) -> int:
    """Length from the first to the last position that one tap sees."""
    return geometry.strides[axis] * (geometry.output_size[axis] - 1) + 1


def first_seen(axis: int, geometry: Geometry) -> int:
    """Where the lowest tap begins on an axis that is padded but not cropped."""
    return max(-geometry.padding[axis][0], 0)


def _slices(padded: Array, axis: int, geometry: Geometry) -> list[Array]:
    """What the taps of an axis see. It is padded but not cropped, which would be one more copy."""
    stride, dilation = geometry.strides[axis], geometry.kernel_dilation[axis]
    first, seen = first_seen(axis, geometry), reach(axis, geometry)
    starts = (first + dilation * r for r in range(geometry.window[axis]))
    return [lax.slice_in_dim(padded, i, i + seen, stride, axis=axis + 1) for i in starts]
