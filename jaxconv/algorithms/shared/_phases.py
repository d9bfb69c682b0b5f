"""Strides and dilations taken apart: a strided form as forms of stride 1 between phases.

Take an axis with stride s and kernel dilation d, let g = gcd(s, d), and count the taps as
r = ρ + (s/g)·t. Then d·r = d·ρ + s·(d/g)·t, and (G) reads

    i + lo = s·p + d·ρ + s·(d/g)·t,    that is   i = s·j + (d·ρ - lo)  and  j = p + (d/g)·t     (1)

So the taps of one ρ meet the input elements of one phase only, x_ρ[j] = x[s·j + d·ρ - lo], and they
meet them at stride 1:

    T(x, k, y) = Σ_ρ T_1(x_ρ, k_ρ, y),     k_ρ[t] = k[ρ + (s/g)·t]                              (2)

with T_1 of stride 1 and kernel dilation d/g. On an axis with input dilation e the same happens to
y, because (G') exchanges x and y:

    p = e·j + (lo - d·ρ)  and  i = j + (d/g)·t,    y_ρ[j] = y[e·j + lo - d·ρ],   g = gcd(e, d)  (3)

The gradient of the input then no longer multiplies the zeros of a dilated y. That saves all but 1/s
of the operations, per axis. This is "sub-pixel convolution".

Where all phases have the same number of taps, (2) is a single form whose channels are the phases:
space to depth. `PhaseForm` fills up shorter phases with zero taps. The zero taps carry an infinity
or NaN to the elements that they meet, less than a stride beyond the window. A stride equal to the
window leaves a window of one tap, a matrix product.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from ..._geometry import Axis, Geometry
from ..._spec import ConvSpec, Slot
from ..._typing import Array
from .._algorithm import Solve
from .._problem import Problem
from ._hints import Hints
from ._padding import pad_axis, pad_spatial
from ._taps import MAX_TAPS, every, interleaved


def solve_by_phases(
    slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve, hints: Hints
) -> Array:
    """The contraction of (2), with all phases as channels of one form, which `solve` computes."""
    form = PhaseForm(spec.geometry, hints)
    a, b = (form.to_inner(s, x) for s, x in zip(slot.others, (first, second), strict=True))
    return form.from_inner(slot, solve(slot, spec.replace(geometry=form.inner), a, b))


def why_not_by_phases(problem: Problem) -> str:
    """Why the phases can't be taken apart; empty if (2) holds, with or without (3)."""
    axes = list(problem.geometry.axes())
    if not any(a.s > 1 or a.e > 1 for a in axes):
        return "there are neither strides nor input dilation"
    if any(a.s > 1 and a.e > 1 for a in axes):
        return "an axis has both a stride and input dilation"
    found = [phases_of(axis) for axis in axes]
    if not all(phases.length for phases in found):
        return "nothing but padding is met"
    if any(len(phases.starts) > MAX_TAPS and not phases.are_adjacent for phases in found):
        return f"there are more than {MAX_TAPS} phases to unroll"
    return ""


def fills_up(problem: Problem) -> bool:
    """Whether phases have unequal numbers of taps, so that zero taps fill up the shorter ones.

    A zero tap meets an element that the window does not contain.
    """
    return any(axis.r % len(phases_of(axis).starts) for axis in problem.geometry.axes())


class AxisPhases(NamedTuple):
    """The phases of one axis, by (1) or (3).

    Attributes:
      splits: The slot, x or y, that is split into phases.
      step: The spacing of a phase's elements, s or e.
      dilation: d/g, the kernel dilation that remains.
      starts: d·ρ - lo or lo - d·ρ for each phase that has a tap.
      taps: The number of taps of the longest phase.
      first: The lowest j that any phase needs and has.
      length: The number of such j.
    """

    splits: Slot
    step: int
    dilation: int
    starts: tuple[int, ...]
    taps: int
    first: int
    length: int

    @property
    def are_adjacent(self) -> bool:
        """Whether the phases lie side by side, so that a reshape takes them apart."""
        places = sorted(self.starts)
        return len(places) > 1 and places == [*range(places[0], places[0] + len(places))]


def phases_of(axis: Axis) -> AxisPhases:
    """The phases of one axis. An axis without stride and input dilation is a single phase."""
    splits, step = (Slot.OUTPUT, axis.e) if axis.e > 1 else (Slot.INPUT, axis.s)
    common = math.gcd(step, axis.d)
    period, dilation = step // common, axis.d // common
    longest = -(-axis.r // period)
    offsets = [axis.d * rho - axis.lo for rho in range(min(period, axis.r))]
    starts = tuple(offset if splits is Slot.INPUT else -offset for offset in offsets)
    extra = dilation * (longest - 1)
    if splits is Slot.INPUT:
        low, high, size = 0, axis.p - 1 + extra, axis.i
    else:
        low, high, size = -extra, axis.i - 1, axis.p
    first = max(low, min(-(start // step) for start in starts))
    last = min(high, max((size - 1 - start) // step for start in starts))
    return AxisPhases(splits, step, dilation, starts, longest, first, max(last - first + 1, 0))


class PhaseForm:
    """The form T_1 whose channels are phases, and how the three slots are brought to it and back.

    Attributes:
      geometry: The strided form's.
      inner: The geometry of T_1.
      axes: The phases of each axis.
    """

    def __init__(self, geometry: Geometry, hints: Hints):
        self.geometry, self.hints = geometry, hints
        self.axes = [phases_of(axis) for axis in geometry.axes()]
        self.inner = _inner_geometry(geometry, self.axes)

    def phases(self, slot: Slot) -> int:
        """How many phases a slot is split into."""
        return math.prod(len(phases.starts) for phases in self.axes if phases.splits is slot)

    def to_inner(self, slot: Slot, a: Array) -> Array:
        """A slot's array with its phases as channels."""
        groups = self.geometry.groups
        if slot is Slot.KERNEL:
            return self._kernel(a)
        n, *spatial, channels = a.shape
        a = a.reshape(n, *spatial, groups, channels // groups)
        for axis, phases in enumerate(self.axes):
            if phases.splits is slot:
                a = _split_axis(a, axis, phases)
        return self.hints.row_major(a).reshape(*a.shape[: 1 + len(spatial)], -1)

    def from_inner(self, slot: Slot, a: Array) -> Array:
        """The transpose of `to_inner`."""
        groups, rank = self.geometry.groups, self.geometry.rank
        if slot is Slot.KERNEL:
            return self._kernel_back(a)
        mine = [(axis, phases) for axis, phases in enumerate(self.axes) if phases.splits is slot]
        sizes = self.geometry.input_size if slot is Slot.INPUT else self.geometry.output_size
        counts = [len(phases.starts) for _, phases in mine]
        channels = a.shape[-1] // math.prod(counts)
        a = a.reshape(*a.shape[:-1], groups, *counts, channels // groups)
        for axis, phases in reversed(mine):
            a = _join_axis(a, axis, phases, sizes[axis])
        return a.reshape(*a.shape[: 1 + rank], channels)

    def _kernel(self, k: Array) -> Array:
        *window, c, o = k.shape
        groups = self.geometry.groups
        for axis, phases in enumerate(self.axes):
            k = pad_axis(k, axis, 0, phases.taps * len(phases.starts) - window[axis])
        apart = [size for phases in self.axes for size in (phases.taps, len(phases.starts))]
        k = k.reshape(*apart, c, groups, o // groups).transpose(self._kernel_order())
        return k.reshape(*self.inner.window, c * self.phases(Slot.INPUT), -1)

    def _kernel_back(self, k: Array) -> Array:
        groups, order = self.geometry.groups, self._kernel_order()
        c, o = k.shape[-2] // self.phases(Slot.INPUT), k.shape[-1] // self.phases(Slot.OUTPUT)
        full = [size for phases in self.axes for size in (phases.taps, len(phases.starts))]
        full += [c, groups, o // groups]
        k = k.reshape([full[axis] for axis in order])
        k = k.transpose([order.index(axis) for axis in range(len(order))])
        k = k.reshape(*(phases.taps * len(phases.starts) for phases in self.axes), c, o)
        for axis, size in enumerate(self.geometry.window):
            k = pad_axis(k, axis, 0, size - k.shape[axis])
        return k

    def _kernel_order(self) -> list[int]:
        """Axes of `(taps, phases, taps, phases, …, c, g, o/g)` in the inner kernel's order."""
        rank = self.geometry.rank
        c, g, o = range(2 * rank, 2 * rank + 3)
        x, y = (
            [2 * axis + 1 for axis in range(rank) if self.axes[axis].splits is slot]
            for slot in (Slot.INPUT, Slot.OUTPUT)
        )
        return [*range(0, 2 * rank, 2), *x, c, g, *y, o]


def _inner_geometry(geometry: Geometry, axes: Sequence[AxisPhases]) -> Geometry:
    """The geometry of T_1, of stride 1 between phases."""
    input_size, output_size, padding = [], [], []
    for phases, i, p in zip(axes, geometry.input_size, geometry.output_size, strict=True):
        if phases.splits is Slot.INPUT:
            i, lo = phases.length, phases.first
        else:
            p, lo = phases.length, -phases.first
        input_size.append(i)
        output_size.append(p)
        padding.append((lo, p + phases.dilation * (phases.taps - 1) - lo - i))
    once = (1,) * geometry.rank
    return replace(
        geometry,
        input_size=tuple(input_size),
        window=tuple(phases.taps for phases in axes),
        output_size=tuple(output_size),
        strides=once,
        padding=tuple(padding),
        input_dilation=once,
        kernel_dilation=tuple(phases.dilation for phases in axes),
    )


def _split_axis(a: Array, axis: int, phases: AxisPhases) -> Array:
    """The phases of one spatial axis, on a new axis before the last."""
    step, length = phases.step, phases.length
    if not phases.are_adjacent:
        starts = (start + step * phases.first for start in phases.starts)
        return jnp.stack([every(a, axis, start, step, length) for start in starts], axis=-2)
    base = min(phases.starts) + step * phases.first
    a = pad_spatial(a, axis, -base, base + step * length - a.shape[axis + 1])
    a = a.reshape(*a.shape[: axis + 1], length, step, *a.shape[axis + 2 :])
    a = pad_spatial(a, axis + 1, 0, len(phases.starts) - step)
    return jnp.moveaxis(_in_order_of_taps(a, axis + 1, phases), axis + 2, -2)


def _join_axis(a: Array, axis: int, phases: AxisPhases, size: int) -> Array:
    """The transpose of `_split_axis`, for an axis of `size`."""
    step, length, lowest = phases.step, phases.length, min(phases.starts)
    base = lowest + step * phases.first
    if step == 1:
        return pad_spatial(a[..., 0, :], axis, base, size - base - length)
    if phases.are_adjacent:
        a = _in_order_of_taps(jnp.moveaxis(a, -2, axis + 2), axis + 1, phases)
        a = pad_spatial(a, axis + 1, 0, step - len(phases.starts))
        whole = a.reshape(*a.shape[: axis + 1], length * step, *a.shape[axis + 3 :])
        return pad_spatial(whole, axis, base, size - base - step * length)
    by_remainder = {}
    shifts = [divmod(start - lowest, step) for start in phases.starts]
    longest = length + max(shift for shift, _ in shifts)
    for number, (shift, phase) in enumerate(shifts):
        shifted = pad_spatial(a[..., number, :], axis, shift, longest - length - shift)
        by_remainder[phase] = shifted
    whole = interleaved(by_remainder, axis, step)
    return pad_spatial(whole, axis, base, size - base - step * longest)


def _in_order_of_taps(a: Array, axis: int, phases: AxisPhases) -> Array:
    """Phases in the order of their places brought to that of their taps, or back."""
    return a if phases.starts[0] == min(phases.starts) else lax.rev(a, [axis + 1])
