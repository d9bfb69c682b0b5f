"""Padding made even: the same on both sides of an axis, as cuDNN takes it.

cuDNN pads an axis by one number. Where the two sides differ, XLA writes a padded copy of the map
and, where the kernel is dilated, a kernel full of zeros. Often an equal convolution with padding m
on both sides exists. Behind its last window lie

    rest = i + 2m - d·(r-1) - 1 - s·(p-1)                                                      (1)

elements. The convolution is the same if its first window begins where it did and 0 <= rest < s. By

  - m = lo: if that is so already;
  - taps: `a` zero taps before the kernel and `b` behind it, m = lo + d·a. The gradient of the
    kernel leaves these taps out. In the gradient of the input they carry an infinity or NaN to
    elements next to the window. A forward pass must not do that, so it has no such taps;
  - positions: `u` windows before the first and `v` behind the last one, m = lo + s·u. The forward
    pass leaves these outputs out, and the gradients have zeros there.

Taps cost operations, positions a pass over y and uneven padding a pass over x. The cheapest runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from ..._geometry import Axis, Geometry, extent
from ..._typing import Array
from .._problem import Problem
from ..shared._padding import pad_and_dilate

# Operations in the time in which an H100 reads an element of float32 or bfloat16 (its data sheet).
_OPERATIONS_PER_ELEMENT = 500


class Ends(NamedTuple):
    """What is added at the two ends of an axis."""

    front: int
    back: int


@dataclass(frozen=True)
class EvenPadding:
    """An equal convolution, and how the kernel and the output are brought to it and back.

    Attributes:
      geometry: The equal convolution's.
      taps: The zero taps at the ends of each axis of the kernel.
      positions: The positions at the ends of each axis of the output.
    """

    geometry: Geometry
    taps: Sequence[Ends]
    positions: Sequence[Ends]

    def with_taps(self, kernel: Array) -> Array:
        """The kernel with its zero taps."""
        if not any(map(any, self.taps)):
            return kernel
        config = [*((front, back, 0) for front, back in self.taps), (0, 0, 0), (0, 0, 0)]
        return lax.pad(kernel, jnp.zeros((), kernel.dtype), config)

    def without_taps(self, kernel: Array) -> Array:
        """The transpose of `with_taps`."""
        starts = (*(front for front, _ in self.taps), 0, 0)
        ends = (*(r - back for r, (_, back) in zip(kernel.shape, self.taps, strict=False)),)
        return lax.slice(kernel, starts, (*ends, *kernel.shape[-2:]))

    def with_positions(self, y: Array) -> Array:
        """The output with zeros at the positions that were added."""
        return pad_and_dilate(y, [(front, back, 0) for front, back in self.positions])

    def without_positions(self, y: Array) -> Array:
        """The transpose of `with_positions`."""
        return pad_and_dilate(y, [(-front, -back, 0) for front, back in self.positions])


def even_padding(problem: Problem, *, is_forward: bool) -> EvenPadding:
    """The cheapest way to compute a contraction whose geometry has no input dilation."""
    geometry, axes = problem.geometry, list(problem.geometry.axes())
    none = [Ends(0, 0)] * geometry.rank
    if geometry.crops_all or any(min(sides) < 0 for sides in geometry.padding):
        return EvenPadding(geometry, none, none)
    by_positions = [_ends(-(_rest(axis) // axis.s)) for axis in axes]
    if not any(map(any, by_positions)):
        return _evened(geometry, none, none)
    x = problem.n * problem.c * math.prod(geometry.input_size)
    y = problem.n * problem.o * math.prod(geometry.output_size)

    def cost(copied: int, factor: float) -> float:
        """In elements that are moved: a copy, and the convolution with more operations."""
        return 2.0 * copied + max(x + y, factor * problem.operations / _OPERATIONS_PER_ELEMENT)

    spread = math.prod(extent(axis.r, axis.d) / axis.r for axis in axes)
    found = [
        (cost(x, spread), EvenPadding(geometry, none, none)),
        (cost(y, 1.0), _evened(geometry, none, by_positions)),
    ]
    by_taps = [_more_taps(axis) for axis in axes]
    if not is_forward and None not in by_taps:
        taps = [ends for ends in by_taps if ends is not None]
        factor = math.prod((a.r + sum(ends)) / a.r for a, ends in zip(axes, taps, strict=True))
        found.append((cost(0, factor), _evened(geometry, taps, none)))
    return min(found, key=lambda pair: pair[0])[1]


def is_trivial(geometry: Geometry) -> bool:
    """Whether a convolution does nothing along the axes of a geometry but to name them."""
    sizes = {*geometry.window, *geometry.strides, *geometry.input_dilation}
    return sizes <= {1} and not any(map(any, geometry.padding))


def _rest(axis: Axis) -> int:
    """(1) for m = lo."""
    return axis.i + 2 * axis.lo - extent(axis.r, axis.d) - axis.s * (axis.p - 1)


def _ends(number: int) -> Ends:
    """So many in front, or as many behind if negative."""
    return Ends(max(number, 0), max(-number, 0))


def _more_taps(axis: Axis) -> Ends | None:
    """The fewest taps with which an even padding fits; None if none does."""
    rest = _rest(axis)
    number = -(rest // axis.d) if rest < 0 else -max(0, -((axis.s - 1 - rest) // axis.d))
    return _ends(number) if 0 <= rest + axis.d * number < axis.s else None


def _evened(geometry: Geometry, taps: Sequence[Ends], positions: Sequence[Ends]) -> EvenPadding:
    padding, window, output = [], [], []
    for axis, of_taps, of_positions in zip(geometry.axes(), taps, positions, strict=True):
        even = axis.lo + axis.d * of_taps.front + axis.s * of_positions.front
        padding.append((even, even))
        window.append(axis.r + sum(of_taps))
        output.append(axis.p + sum(of_positions))
    even = replace(
        geometry, padding=tuple(padding), window=tuple(window), output_size=tuple(output)
    )
    return EvenPadding(even, taps, positions)
