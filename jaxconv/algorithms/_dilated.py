"""Kernel dilation taken apart: dilated phases are examples of their own.

On an axis with kernel dilation d, stride 1 and no input dilation, (G) reads i + lo = p + d·r. Write
i + lo = d·j + φ and p = d·q + φ': they meet where φ = φ' and j = q + r. Pixels and outputs of one
phase φ meet each other alone, undilated: n·d examples in place of n. No product is added and none
is lost, but for the zeros that fill up incomplete phases.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from .._geometry import Geometry
from .._typing import Array
from ._placing import place, split
from ._row_major import row_major


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


def _as_examples(x: Array, factors: Sequence[int]) -> Array:
    """`(n, *f·q, c)` to `(n·|f|, *q, c)`."""
    parts = split(x, factors)
    n, *sizes, c = parts.shape
    rank = len(factors)
    places, phases = range(1, rank + 1), range(rank + 1, 2 * rank + 1)
    examples = parts.transpose(0, *phases, *places, 2 * rank + 1)
    return row_major(examples).reshape(n * math.prod(factors), *sizes[:rank], c)
