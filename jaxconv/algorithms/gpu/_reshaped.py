"""Convolutions that are others after a reshape, which moves no element.

- A dilated line. With kernel dilation d and stride 1, (G) reads i + lo = p + d·r. Write
  i + lo = d·j + φ and p = d·q + φ'. They meet where φ = φ' and j = q + r. So each phase φ is a
  line of its own, without dilation, and `(n, d·q, c)` is `(n, q, d, c)`: the phases are a second
  spatial axis, with a window of 1. Incomplete phases are filled up with zeros, by a copy.
- A volume whose windows reach along the first axis alone. Its other two axes are one. In 2-D, XLA
  does not transpose the maps for cuDNN.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..._geometry import Geometry
from ..._spec import Slot
from ..._typing import Array
from ..shared._padding import Sides, pad_and_dilate
from ._even_padding import is_trivial


@dataclass(frozen=True)
class Reshaped:
    """A convolution, the one that it is after a reshape, and how the slots are brought to it.

    Attributes:
      geometry: The convolution's.
      inner: The other one's.
      input_sides: What fills up the input before the reshape, or is cropped.
      output_sides: The same for the output.
    """

    geometry: Geometry
    inner: Geometry
    input_sides: Sides
    output_sides: Sides

    @property
    def is_free(self) -> bool:
        """Whether no map is copied."""
        return not any(map(any, (*self.input_sides, *self.output_sides)))

    def to_inner(self, slot: Slot, a: Array) -> Array:
        """A slot's array as the inner convolution takes it."""
        if slot == Slot.KERNEL:
            return a.reshape(*self.inner.window, *a.shape[-2:])
        _, sides, inner_size = self._of(slot)
        return pad_and_dilate(a, sides).reshape(a.shape[0], *inner_size, a.shape[-1])

    def from_inner(self, slot: Slot, a: Array) -> Array:
        """The transpose of `to_inner`."""
        if slot == Slot.KERNEL:
            return a.reshape(*self.geometry.window, *a.shape[-2:])
        size, sides, _ = self._of(slot)
        filled = (i + lo + hi for i, (lo, hi, _) in zip(size, sides, strict=True))
        a = a.reshape(a.shape[0], *filled, a.shape[-1])
        return pad_and_dilate(a, [(-lo, -hi, 0) for lo, hi, _ in sides])

    def _of(self, slot: Slot) -> tuple[Sequence[int], Sides, Sequence[int]]:
        """The slot's spatial shape, what fills it up, and its shape in the inner convolution."""
        if slot == Slot.INPUT:
            return self.geometry.input_size, self.input_sides, self.inner.input_size
        return self.geometry.output_size, self.output_sides, self.inner.output_size


def reshaped(slot: Slot, geometry: Geometry) -> Reshaped | None:
    """The form in which a contraction is faster, if there is one.

    A kernel gradient is not cuDNN's with dilation, so it is worth copies.
    """
    if geometry.rank == 3 and is_trivial(geometry.spatial(1)):
        return _along_depth(geometry)
    if geometry.rank != 1:
        return None
    (axis,) = geometry.axes()
    if axis.d == 1 or axis.s > 1 or axis.e > 1:
        return None
    line = _line(geometry)
    return line if line.is_free or slot == Slot.KERNEL else None


def _along_depth(geometry: Geometry) -> Reshaped:
    sizes = (geometry.input_size, geometry.output_size)
    input_size, output_size = ((size[0], math.prod(size[1:])) for size in sizes)
    inner = replace(geometry.spatial(0, 2), input_size=input_size, output_size=output_size)
    none = [(0, 0, 0)] * geometry.rank
    return Reshaped(geometry, inner, none, none)


def _line(geometry: Geometry) -> Reshaped:
    (axis,) = geometry.axes()
    before, positions = axis.lo % axis.d, -(-axis.p // axis.d)
    lo = (axis.lo - before) // axis.d
    # Elements that no window reaches are cropped.
    size = min(-(-(axis.i + before) // axis.d), positions + axis.r - 1 - lo)
    inner = replace(
        geometry,
        input_size=(size, axis.d),
        window=(axis.r, 1),
        output_size=(positions, axis.d),
        strides=(1, 1),
        padding=((lo, positions + axis.r - 1 - lo - size), (0, 0)),
        input_dilation=(1, 1),
        kernel_dilation=(1, 1),
    )
    input_sides = [(before, axis.d * size - axis.i - before, 0)]
    return Reshaped(geometry, inner, input_sides, [(0, axis.d * positions - axis.p, 0)])
