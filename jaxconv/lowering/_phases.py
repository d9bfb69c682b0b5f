"""Phases: the same sum T over arrays that are cut by residues, with one spacing of the grids gone.

By (G), for input dilation 1, tap r and output p meet pixel i = s·p + d·r - lo. Divide by a spacing
with remainder, and what has the same remainder φ forms a smaller grid of its own, a *phase*.

  - d > 1 and s = 1. Write i + lo = d·j + φ and p = d·q + φ': they meet where φ = φ' and j = q + r.
    Pixels and outputs of one phase are an example of their own: n·|d| examples, no dilation.
  - s > 1 and d = 1. Write i + lo = s·j + φ and r = s·q + φ': they meet where φ = φ' and j = p + q.
    Pixels and taps of one phase are a channel of their own: |s|·c channels, no stride.

No product is added and none is lost, but for the zeros that fill up incomplete phases.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from .._geometry import Geometry
from .._typing import Array
from ._placing import Sides, join, place, split, take_back


def undilated(x: Array, y: Array, geometry: Geometry) -> tuple[Array, Array, Geometry]:
    """Dilated phases as examples: input and output by phase, and how they meet."""
    x_sides, y_sides, padding, inputs, outputs = [], [], [], [], []
    for (i, r, p, _, lo, _, d), sides in zip(geometry.axes(), geometry.padding, strict=True):
        maps = -(-p // d)
        pixels = maps + r - 1 if d > 1 else i
        x_sides.append((lo, d * pixels - lo - i, 0) if d > 1 else (0, 0, 0))
        y_sides.append((0, d * maps - p, 0))
        padding.append((0, 0) if d > 1 else sides)
        inputs.append(pixels)
        outputs.append(maps)
    d = geometry.kernel_dilation
    left = replace(
        geometry,
        input_size=tuple(inputs),
        output_size=tuple(outputs),
        padding=tuple(padding),
        kernel_dilation=(1,) * geometry.rank,
    )
    return _as_examples(place(x, x_sides), d), _as_examples(place(y, y_sides), d), left


def unstrided(geometry: Geometry) -> Geometry:
    """How the strided phases of an input and a kernel meet, with phases as channels."""
    window = tuple(-(-axis.r // axis.s) for axis in geometry.axes())
    inputs = tuple(p + q - 1 for p, q in zip(geometry.output_size, window, strict=True))
    once, none = (1,) * geometry.rank, ((0, 0),) * geometry.rank
    return replace(geometry, input_size=inputs, window=window, strides=once, padding=none)


def input_phases(x: Array, geometry: Geometry) -> Array:
    """`(n, *spatial, c)` to `(n, *j, |s|·c)`, the phases inside their feature group."""
    parts = split(place(x, _whole_input(geometry)), geometry.strides)
    n, *sizes, c = parts.shape
    rank, groups = geometry.rank, geometry.groups
    grouped = parts.reshape(n, *sizes, groups, c // groups)
    first, last = tuple(range(rank + 1)), 2 * rank + 1
    grouped = grouped.transpose(*first, last, *range(rank + 1, last), last + 1)
    return grouped.reshape(n, *sizes[:rank], math.prod(geometry.strides) * c)


def input_from_phases(x: Array, geometry: Geometry) -> Array:
    """The transpose of `input_phases`."""
    n, *sizes, channels = x.shape
    rank, groups, s = geometry.rank, geometry.groups, geometry.strides
    c = channels // math.prod(s)
    grouped = x.reshape(n, *sizes, groups, *s, c // groups)
    first, last = tuple(range(rank + 1)), 2 * rank + 1
    parts = grouped.transpose(*first, *range(rank + 2, last + 1), rank + 1, last + 1)
    return take_back(join(parts.reshape(n, *sizes, *s, c)), _whole_input(geometry))


def kernel_phases(k: Array, geometry: Geometry) -> Array:
    """`(*window, c/g, o)` to `(*q, |s|·c/g, o)`."""
    *window, c, o = k.shape
    parts = split(place(k.reshape(1, *window, c * o), _whole_window(geometry)), geometry.strides)
    return parts.reshape(*unstrided(geometry).window, math.prod(geometry.strides) * c, o)


def kernel_from_phases(k: Array, geometry: Geometry) -> Array:
    """The transpose of `kernel_phases`."""
    *window, channels, o = k.shape
    c = channels // math.prod(geometry.strides)
    whole = join(k.reshape(1, *window, *geometry.strides, c * o))
    return take_back(whole, _whole_window(geometry)).reshape(*geometry.window, c, o)


def _as_examples(x: Array, factors: Sequence[int]) -> Array:
    """`(n, *f·q, c)` to `(n·|f|, *q, c)`."""
    parts = split(x, factors)
    n, *sizes, c = parts.shape
    rank = len(factors)
    places, phases = range(1, rank + 1), range(rank + 1, 2 * rank + 1)
    examples = parts.transpose(0, *phases, *places, 2 * rank + 1)
    return examples.reshape(n * math.prod(factors), *sizes[:rank], c)


def _whole_input(geometry: Geometry) -> Sides:
    """Padding, or cropping, after which all phases of the input have the size they need."""
    sizes = unstrided(geometry).input_size
    return [
        (a.lo, a.s * size - a.lo - a.i, 0) for a, size in zip(geometry.axes(), sizes, strict=True)
    ]


def _whole_window(geometry: Geometry) -> Sides:
    return [(0, -axis.r % axis.s, 0) for axis in geometry.axes()]
