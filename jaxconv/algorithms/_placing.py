"""Where pixels lie, spelled out: padding, cropping and dilation as operations on arrays.

A backend that knows a convolution only without some option still computes it, if the option is
applied to the array instead. Each function here moves pixels and leaves T of `ops` as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from jax import lax

from .._geometry import Geometry, extent
from .._typing import Array

# Low and high padding (negative: crop) and the gap between pixels, for each spatial axis.
Sides: TypeAlias = Sequence[tuple[int, int, int]]


def spelled_out(geometry: Geometry, *, padding: bool = False) -> tuple[Sides, Geometry]:
    """What to apply to the input so that no negative padding and no input dilation remain.

    Args:
      geometry: Of the convolution.
      padding: Whether to apply positive padding, too, and leave none.

    Returns:
      The sides to `place` the input between, and the geometry of what is left to do.
    """
    sides, rest, sizes = [], [], []
    for (lo, hi), e, i in zip(
        geometry.padding, geometry.input_dilation, geometry.input_size, strict=True
    ):
        whole = padding or e > 1  # padding counts pixels of the dilated input
        low, high = (lo, hi) if whole else (min(lo, 0), min(hi, 0))
        sides.append((low, high, e - 1))
        rest.append((lo - low, hi - high))
        sizes.append(low + extent(i, e) + high)
    once = (1,) * geometry.rank
    left = replace(geometry, input_size=tuple(sizes), padding=tuple(rest), input_dilation=once)
    return sides, left


def cropped(geometry: Geometry) -> tuple[Sides, Geometry]:
    """What to apply to the input so that no negative padding remains, and all else does.

    Of the pixels at e·i + lo those at 0 and above are left, and likewise at the other end. Where
    that leaves none on an axis, nothing is applied at all.
    """
    first = [max(0, -(lo // e)) for (lo, _), e in _ends(geometry)]  # rounded up
    behind = [max(0, -(hi // e)) for (_, hi), e in _ends(geometry)]
    sizes = [i - f - b for i, f, b in zip(geometry.input_size, first, behind, strict=True)]
    if min(sizes, default=1) <= 0:
        return [(0, 0, 0)] * geometry.rank, geometry
    padding = [
        (lo + e * f, hi + e * b)
        for ((lo, hi), e), f, b in zip(_ends(geometry), first, behind, strict=True)
    ]
    left = replace(geometry, input_size=tuple(sizes), padding=tuple(padding))
    return [(-f, -b, 0) for f, b in zip(first, behind, strict=True)], left


def _ends(geometry: Geometry) -> list[tuple[tuple[int, int], int]]:
    return list(zip(geometry.padding, geometry.input_dilation, strict=True))


def place(x: Array, sides: Sides) -> Array:
    """Pad, crop and dilate the spatial axes of `(n, *spatial, c)` with zeros."""
    if not any(map(any, sides)):
        return x
    if all(low <= 0 and high <= 0 and not gap for low, high, gap in sides):
        # A slice, as a compiler may turn a pad into an option of the convolution that follows.
        ends = (size + high for size, (_, high, _) in zip(x.shape[1:-1], sides, strict=True))
        starts = (0, *(-low for low, _, _ in sides), 0)
        return lax.slice(x, starts, (x.shape[0], *ends, x.shape[-1]))
    return lax.pad(x, _zero(x), [(0, 0, 0), *sides, (0, 0, 0)])


def take_back(placed: Array, sides: Sides) -> Array:
    """The transpose of `place`: the pixels where it put them, zero where it cropped them."""
    cut = place(placed, [(-low, -high, 0) for low, high, _ in sides])
    if not any(gap for _, _, gap in sides):
        return cut
    return lax.slice(cut, (0,) * cut.ndim, cut.shape, (1, *(gap + 1 for *_, gap in sides), 1))


def split(x: Array, factors: Sequence[int]) -> Array:
    """Split each spatial axis: pixel f·q + φ of `(n, *f·q, c)` goes to (q, φ) of `(n, *q, *f, c)`.

    All pixels with one φ are a *phase*: what a grid of spacing f sees from one of its places.
    """
    n, *spatial, c = x.shape
    rank = len(factors)
    pairs = [pair for size, f in zip(spatial, factors, strict=True) for pair in (size // f, f)]
    places = [1 + 2 * axis for axis in range(rank)]
    phases = [axis + 1 for axis in places]
    return x.reshape(n, *pairs, c).transpose(0, *places, *phases, 2 * rank + 1)


def join(phases: Array) -> Array:
    """The inverse of `split`: `(n, *q, *f, c)` to `(n, *f·q, c)`."""
    n, *sizes, c = phases.shape
    rank = len(sizes) // 2
    order = [axis for a in range(rank) for axis in (1 + a, 1 + rank + a)]
    spatial = [q * f for q, f in zip(sizes[:rank], sizes[rank:], strict=True)]
    return phases.transpose(0, *order, 2 * rank + 1).reshape(n, *spatial, c)


def _zero(x: Array) -> Array:
    return lax.full((), 0, x.dtype)
