"""Taps folded into channels: spatial axes leave the convolution and join the matrix product.

On an axis without input dilation, (G) says which input element tap r meets at output p:
i = s·p + d·r - lo. Collect these in *patches*. The axis is then no longer a spatial one, but counts
examples,

    x'[n,p; r,c] = x[n, s·p + d·r - lo, c]        T = Σ x'[n,p; r,c] k[r,c; o] y[n,p; o]        (1)

On an axis without stride the same can be done to y, since (G') is (G) with x and y exchanged and
the taps counted from the other end:

    y'[n,i; r,o] = y[n, e·i + lo - d·r, o]        T = Σ x[n,i; c] k[c; r,o] y'[n,i; r,o]        (2)

Fold all axes and T is a matrix product. What that product is depends on the empty slot:

    axes folded     forward                     input gradient            kernel gradient
    into x, (1)     im2col                      product, then col2im      im2col
    into y, (2)     product, then shifted adds  im2col of y               im2col of y
    one and one                                                           split im2col

"col2im" and "shifted adds" are the transposes of (1) and (2): overlapping patches are added where
they lie. Splitting needs R·c + R·o columns for two axes, not R²·c. Fold the first axis alone, the
depth of a volume, and a convolution of one rank less remains, with R times the channels.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax

from ..._geometry import Geometry
from ..._spec import Slot
from ..._typing import Array
from ..shared._arrays import reverse_window, split_groups
from ..shared._row_major import row_major
from ..shared._taps import pad_for_taps, place_taps, taps
from ._hints import HINTS
from ._stacked_taps import stacked_taps


class FoldedForm:
    """The form that remains when the first axes are folded, and how its slots are reached.

    Attributes:
      geometry: The convolution's.
      into: The slot, input or output, that each folded axis joins, from the first axis on.
      axes: The folded axes by the slot that they join.
      grid: The sizes of the axes that become examples.
      inner: The geometry of the axes that remain.
    """

    def __init__(self, geometry: Geometry, into: tuple[Slot, ...]):
        self.geometry, self.into = geometry, into
        self.axes = {
            slot: tuple(axis for axis, joined in enumerate(into) if joined is slot)
            for slot in (Slot.INPUT, Slot.OUTPUT)
        }
        self.grid = tuple(
            geometry.output_size[axis] if joined is Slot.INPUT else geometry.input_size[axis]
            for axis, joined in enumerate(into)
        )
        self.inner = geometry.spatial(len(into))

    def taps_of(self, slot: Slot) -> int:
        """How many taps join the channels of a slot."""
        return math.prod(self.geometry.window[axis] for axis in self.axes[slot])

    def elements(self, c: int, o: int) -> dict[Slot, int]:
        """How many elements the patches of one example have, by the slot that they are made of."""
        kept = {
            Slot.INPUT: c * math.prod(self.inner.input_size),
            Slot.OUTPUT: o * math.prod(self.inner.output_size),
        }
        found = {}
        for slot, elements in kept.items():
            copied = [axis for axis in self.axes[slot] if self._copies(axis)]
            if copied:
                taps = math.prod(self.geometry.window[axis] for axis in copied)
                found[slot] = math.prod(self.grid) * elements * taps
        return found

    def to_inner(self, slot: Slot, a: Array) -> Array:
        """A slot's array as the inner form takes it."""
        if slot is Slot.KERNEL:
            return self._kernel(a)
        geometry, n = self._seen_from(slot), a.shape[0]
        kept = geometry.spatial(len(self.into)).input_size
        patches = _Patches(self.axes[slot], geometry)  # (1), (2)
        a = row_major(split_groups(a, geometry.groups), patches)
        return a.reshape(math.prod(self.grid) * n, *kept, -1)

    def from_inner(self, slot: Slot, a: Array, n: int) -> Array:
        """The transpose of `to_inner`, for `n` examples."""
        if slot is Slot.KERNEL:
            return self._kernel_back(a)
        geometry, axes, groups = self._seen_from(slot), self.axes[slot], self.geometry.groups
        window = [geometry.window[axis] for axis in axes]
        channels = a.shape[-1] // math.prod(window)
        a = a.reshape(n, *self.grid, *a.shape[1:-1], groups, *window, channels // groups)
        a = HINTS.in_vectors(a)
        for axis in reversed(axes):
            a = place_taps(
                lambda r, a=a: lax.index_in_dim(a, r, -3, keepdims=False), axis, geometry
            )
        return a.reshape(*a.shape[:-3], channels)

    def _seen_from(self, slot: Slot) -> Geometry:
        """The geometry whose input is the slot."""
        return self.geometry if slot is Slot.INPUT else self.geometry.transposed()

    def _copies(self, axis: int) -> bool:
        """Whether folding an axis takes more than to rename it: not for a window of 1, unspaced."""
        geometry = self.geometry
        unpadded = geometry.window[axis] == 1 and geometry.padding[axis] == (0, 0)
        return not unpadded or geometry.strides[axis] > 1 or geometry.input_dilation[axis] > 1

    def _kernel(self, k: Array) -> Array:
        *window, c, o = k.shape
        # The taps of (G') are counted from the other end.
        k = reverse_window(k, len(self.axes[Slot.OUTPUT]))
        groups = self.geometry.groups
        by_group = k.reshape(*window, c, groups, o // groups)
        ordered = by_group.transpose(self._kernel_order())
        return ordered.reshape(*window[len(self.into) :], c * self.taps_of(Slot.INPUT), -1)

    def _kernel_back(self, k: Array) -> Array:
        window, groups = self.geometry.window, self.geometry.groups
        over_x = [window[axis] for axis in self.axes[Slot.INPUT]]
        over_y = [window[axis] for axis in self.axes[Slot.OUTPUT]]
        *kept, rows, columns = k.shape
        c, o = rows // math.prod(over_x), columns // math.prod(over_y)
        apart = k.reshape(*kept, *over_x, c, groups, *over_y, o // groups)
        order = self._kernel_order()
        k = apart.transpose([order.index(axis) for axis in range(len(order))])
        return reverse_window(k.reshape(*window, c, o), len(over_y))

    def _kernel_order(self) -> list[int]:
        """Axes of `(*window, c, g, o/g)` in the order of the inner kernel's rows and columns."""
        rank = self.geometry.rank
        kept, c, g, o = range(len(self.into), rank), rank, rank + 1, rank + 2
        return [*kept, *self.axes[Slot.INPUT], c, g, *self.axes[Slot.OUTPUT], o]


@dataclass(frozen=True)
class _Patches:
    """(1) or (2) on some axes: a `Rearrangement` of `(n, *spatial, g, channels)`."""

    axes: tuple[int, ...]
    geometry: Geometry

    def in_one_loop(self, a: Array) -> Array:
        a, left = pad_for_taps(HINTS.in_vectors(a), self.axes, self.geometry)
        for axis in self.axes:
            # Without the separation XLA's CPU compiler would pad again for each tap.
            a = stacked_taps(HINTS.separate(a), axis, left)
            a = jnp.moveaxis(a, axis + 1, -3)
        return a

    def by_slices(self, a: Array) -> Array:
        a, left = pad_for_taps(a, self.axes, self.geometry)
        for axis in self.axes:
            a = jnp.stack(taps(a, axis, left), axis=-2)
        return a
