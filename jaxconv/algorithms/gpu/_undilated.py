"""Kernel dilation taken apart: dilated phases are examples of their own.

On an axis with kernel dilation d, stride 1 and no input dilation, (G) reads i + lo = p + d·r. Write
i + lo = d·j + φ and p = d·q + φ'. They meet where φ = φ' and j = q + r. So the inputs and outputs
of one phase φ meet each other alone, without dilation: n·d examples in place of n. No product is
added and none is lost, but for the zeros that fill up incomplete phases.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from ..._geometry import Geometry
from ..._typing import Array
from ..shared._padding import pad_and_dilate, to_phases


def undilated(x: Array, y: Array, geometry: Geometry) -> tuple[Array, Array, Geometry]:
    """Input and output with their dilated phases as examples, and the geometry without dilation."""
    x_sides, y_sides, padding, inputs, outputs = [], [], [], [], []
    for axis, sides in zip(geometry.axes(), geometry.padding, strict=True):
        d, positions = axis.d, -(-axis.p // axis.d)
        size = positions + axis.r - 1 if d > 1 else axis.i
        x_sides.append((axis.lo, d * size - axis.lo - axis.i, 0) if d > 1 else (0, 0, 0))
        y_sides.append((0, d * positions - axis.p, 0))
        padding.append((0, 0) if d > 1 else sides)
        inputs.append(size)
        outputs.append(positions)
    left = replace(
        geometry,
        input_size=tuple(inputs),
        output_size=tuple(outputs),
        padding=tuple(padding),
        kernel_dilation=(1,) * geometry.rank,
    )
    d = geometry.kernel_dilation
    x, y = pad_and_dilate(x, x_sides), pad_and_dilate(y, y_sides)
    return _phases_as_examples(x, d), _phases_as_examples(y, d), left


def _phases_as_examples(x: Array, factors: Sequence[int]) -> Array:
    """`(n, *f·q, c)` to `(n·|f|, *q, c)`."""
    parts = to_phases(x, factors)
    n, *sizes, c = parts.shape
    rank = len(factors)
    places, phases = range(1, rank + 1), range(rank + 1, 2 * rank + 1)
    examples = parts.transpose(0, *phases, *places, 2 * rank + 1)
    return examples.reshape(n * math.prod(factors), *sizes[:rank], c)
