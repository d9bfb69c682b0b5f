"""Padding, cropping, dilation and phases of spatial axes, as operations on arrays.

A backend that knows convolutions only without some option still computes them, if the option is
applied to the array before. Arrays are `(n, *spatial, …)`. Spatial axes are counted from 0.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry, extent
from ..._typing import Array

# Low padding, high padding (negative values crop) and the gap between elements, per spatial axis.
Sides: TypeAlias = Sequence[tuple[int, int, int]]


def pad_axis(x: Array, axis: int, lo: int, hi: int, fill: int | float = 0, gap: int = 0) -> Array:
    """Pad, or crop where `lo` or `hi` is negative, one axis of an array, counted from 0."""
    if not (lo or hi or gap):
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (lo, hi, gap)
    return lax.pad(x, jnp.asarray(fill, x.dtype), config)


def pad_spatial(
    x: Array, axis: int, lo: int, hi: int, fill: int | float = 0, gap: int = 0
) -> Array:
    """Pad or crop one spatial axis of `(n, *spatial, …)`."""
    return pad_axis(x, axis + 1, lo, hi, fill, gap)


def pad_and_dilate(x: Array, sides: Sides) -> Array:
    """Pad, crop and dilate the spatial axes of `(n, *spatial, c)` with zeros."""
    if not any(map(any, sides)):
        return x
    if all(low <= 0 and high <= 0 and not gap for low, high, gap in sides):
        # A compiler may turn a pad into an option of the convolution that follows, but not a slice.
        ends = (size + high for size, (_, high, _) in zip(x.shape[1:-1], sides, strict=True))
        starts = (0, *(-low for low, _, _ in sides), 0)
        return lax.slice(x, starts, (x.shape[0], *ends, x.shape[-1]))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])


def undo_pad_and_dilate(padded: Array, sides: Sides) -> Array:
    """The transpose of `pad_and_dilate`: the elements that it moved, zero where it cropped them."""
    cropped = pad_and_dilate(padded, [(-low, -high, 0) for low, high, _ in sides])
    if not any(gap for _, _, gap in sides):
        return cropped
    strides = (1, *(gap + 1 for *_, gap in sides), 1)
    return lax.slice(cropped, (0,) * cropped.ndim, cropped.shape, strides)


def apply_dilation(geometry: Geometry, *, and_padding: bool = False) -> tuple[Sides, Geometry]:
    """What to apply to the input so that no input dilation and no negative padding remain.

    Args:
      geometry: The convolution's.
      and_padding: Whether to apply positive padding, too.

    Returns:
      The sides for `pad_and_dilate`, and the geometry of the convolution that remains.
    """
    sides, rest, sizes = [], [], []
    for (lo, hi), e, i in zip(
        geometry.padding, geometry.input_dilation, geometry.input_size, strict=True
    ):
        whole = and_padding or e > 1  # padding is measured in elements of the dilated input
        low, high = (lo, hi) if whole else (min(lo, 0), min(hi, 0))
        sides.append((low, high, e - 1))
        rest.append((lo - low, hi - high))
        sizes.append(low + extent(i, e) + high)
    once = (1,) * geometry.rank
    left = replace(geometry, input_size=tuple(sizes), padding=tuple(rest), input_dilation=once)
    return sides, left


def apply_cropping(geometry: Geometry) -> tuple[Sides, Geometry]:
    """What to apply to the input so that no negative padding remains. Dilation remains.

    Elements lie at e·i + lo. Those below 0 are cropped, and likewise at the other end. Where that
    would leave nothing on an axis, nothing is applied at all.
    """
    ends = [*zip(geometry.padding, geometry.input_dilation, strict=True)]
    before = [max(0, -(lo // e)) for (lo, _), e in ends]  # rounded up
    behind = [max(0, -(hi // e)) for (_, hi), e in ends]
    sizes = [i - b - h for i, b, h in zip(geometry.input_size, before, behind, strict=True)]
    if min(sizes, default=1) <= 0:
        return [(0, 0, 0)] * geometry.rank, geometry
    padding = [
        (lo + e * b, hi + e * h) for ((lo, hi), e), b, h in zip(ends, before, behind, strict=True)
    ]
    left = replace(geometry, input_size=tuple(sizes), padding=tuple(padding))
    return [(-b, -h, 0) for b, h in zip(before, behind, strict=True)], left


def to_phases(x: Array, factors: Sequence[int]) -> Array:
    """Split each spatial axis: element f·q + φ of `(n, *f·q, c)` goes to `(n, *q, *f, c)`.

    The elements with one φ are a phase: what a grid of spacing f sees from one of its offsets.
    """
    n, *spatial, c = x.shape
    rank = len(factors)
    if set(factors) <= {1}:
        return x.reshape(n, *spatial, *factors, c)
    pairs = [pair for size, f in zip(spatial, factors, strict=True) for pair in (size // f, f)]
    places = [1 + 2 * axis for axis in range(rank)]
    phases = [axis + 1 for axis in places]
    return x.reshape(n, *pairs, c).transpose(0, *places, *phases, 2 * rank + 1)


def from_phases(phases: Array) -> Array:
    """The inverse of `to_phases`: `(n, *q, *f, c)` to `(n, *f·q, c)`."""
    n, *sizes, c = phases.shape
    rank = len(sizes) // 2
    if set(sizes[rank:]) <= {1}:
        return phases.reshape(n, *sizes[:rank], c)
    order = [axis for a in range(rank) for axis in (1 + a, 1 + rank + a)]
    spatial = [q * f for q, f in zip(sizes[:rank], sizes[rank:], strict=True)]
    return phases.transpose(0, *order, 2 * rank + 1).reshape(n, *spatial, c)
