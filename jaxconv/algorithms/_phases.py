"""Strides and dilations taken apart: a strided form as forms of stride 1 between phases.

A strided convolution reads the input through a comb. Take an axis with stride s and kernel dilation
d, g = gcd(s, d), and count the taps as r = ρ + (s/g)·t. Then d·r = d·ρ + s·(d/g)·t, and (G) reads

    i + lo = s·p + d·ρ + s·(d/g)·t,    that is   i = s·j + (d·ρ - lo)  and  j = p + (d/g)·t     (1)

so that each ρ meets the pixels of one phase only, x_ρ[j] = x[s·j + d·ρ - lo], at stride 1:

    T(x, k, y) = Σ_ρ T_1(x_ρ, k_ρ, y),     k_ρ[t] = k[ρ + (s/g)·t]                              (2)

with T_1 of stride 1 and kernel dilation d/g. On an axis with input dilation e the same happens
to y, because (G') exchanges x and y:

    p = e·j + (lo - d·ρ)  and  i = j + (d/g)·t,    y_ρ[j] = y[e·j + lo - d·ρ],   g = gcd(e, d)  (3)

An input gradient thus no longer multiplies by the zeros of a dilated error: 1/s of the operations
an axis. This is "sub-pixel convolution".

Where all phases have the same number of taps, (2) is a single form in which the phases are
channels, space to depth; `merged` fills up with zero taps where that is not so. The zero taps carry
an infinity or NaN to the elements that they meet, less than a stride beyond the window. A stride
equal to the window leaves a window of one tap: a matrix product.

Cost: that of the inner forms, and x, k and y written and read once more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from .._geometry import Axis, Geometry
from .._typing import Array
from ._arrays import Dtypes
from ._problem import Problem
from ._row_major import row_major
from ._sliding import MAX_TAPS, every, interleaved, pad


def merged(
    slot: str, *operands: Array, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Array:
    """A corner of (2) with all phases as channels of one form."""
    form = _Merged(geometry)
    slots = [s for s in "xky" if s != slot]
    inner = [form.enter(s, a) for s, a in zip(slots, operands, strict=True)]
    return form.leave(slot, solve(slot, *inner, geometry=form.inner, dtypes=dtypes))


def why_not(problem: Problem) -> str:
    """What keeps the phases from being taken apart; empty if (2) holds with or without (3)."""
    axes = list(problem.geometry.axes())
    if not any(a.s > 1 or a.e > 1 for a in axes):
        return "there are neither strides nor input dilation"
    if any(a.s > 1 and a.e > 1 for a in axes):
        return "an axis has both a stride and input dilation"
    combs = [comb(axis) for axis in axes]
    if not all(comb.length for comb in combs):
        return "nothing but padding is met"
    if any(len(comb.starts) > MAX_TAPS and not comb.neighbours for comb in combs):
        return f"there are more than {MAX_TAPS} phases to unroll"
    return ""


def leaves(problem: Problem) -> Problem:
    """The corner of stride 1 between all phases."""
    slot, geometry, n, c, o = problem
    form = _Merged(geometry)
    return Problem(slot, form.inner, n, c * form.phases("x"), o * form.phases("y"))


def fills_up(problem: Problem) -> bool:
    """Whether phases have unequal numbers of taps, so that taps of zero fill up the shorter ones.

    A zero tap meets a pixel that the window does not hold.
    """
    return any(axis.r % len(comb(axis).starts) for axis in problem.geometry.axes())


class Comb(NamedTuple):
    """(1) or (3) on one axis: `period` phases of taps; the slot "x" or "y" that they split."""

    splits: str
    step: int  # s or e
    period: int
    dilation: int  # d/g
    starts: tuple[int, ...]  # d·ρ - lo or lo - d·ρ, of the phases that have a tap
    taps: int  # of the longest phase
    first: int  # the lowest and
    length: int  # the number of j that any phase needs and has

    @property
    def neighbours(self) -> bool:
        """Whether the phases lie side by side, so that a reshape takes them apart."""
        places = sorted(self.starts)
        return len(places) > 1 and places == [*range(places[0], places[0] + len(places))]


def comb(axis: Axis) -> Comb:
    """The phases of one axis; an axis without a comb has one, whole."""
    i, r, p, s, lo, e, d = axis
    splits, step = ("y", e) if e > 1 else ("x", s)
    common = math.gcd(step, d)
    period, dilation = step // common, d // common
    longest = -(-r // period)
    starts = tuple(d * rho - lo if splits == "x" else lo - d * rho for rho in range(min(period, r)))
    spread = dilation * (longest - 1)
    if splits == "x":
        low, high, size = 0, p - 1 + spread, i
    else:
        low, high, size = -spread, i - 1, p
    first = max(low, min(-(start // step) for start in starts))
    last = min(high, max((size - 1 - start) // step for start in starts))
    return Comb(splits, step, period, dilation, starts, longest, first, max(last - first + 1, 0))


class _Merged:
    """How the slots enter and leave the one form whose channels are phases."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.combs = [comb(axis) for axis in geometry.axes()]
        self.inner = inner_geometry(geometry, self.combs)

    def enter(self, slot: str, a: Array) -> Array:
        groups = self.geometry.groups
        if slot == "k":
            return self._kernel(a)
        n, *spatial, channels = a.shape
        a = a.reshape(n, *spatial, groups, channels // groups)
        for axis, comb in enumerate(self.combs):
            if comb.splits == slot:
                a = _take_apart(a, axis, comb)
        return row_major(a).reshape(*a.shape[: 1 + len(spatial)], -1)

    def leave(self, slot: str, a: Array) -> Array:
        groups, rank = self.geometry.groups, self.geometry.rank
        if slot == "k":
            return self._kernel_back(a)
        mine = [(axis, comb) for axis, comb in enumerate(self.combs) if comb.splits == slot]
        sizes = self.geometry.input_size if slot == "x" else self.geometry.output_size
        counts = [len(comb.starts) for _, comb in mine]
        channels = a.shape[-1] // math.prod(counts)
        a = a.reshape(*a.shape[:-1], groups, *counts, channels // groups)
        for axis, comb in reversed(mine):
            a = _put_together(a, axis, comb, sizes[axis])
        return a.reshape(*a.shape[: 1 + rank], channels)

    def _kernel(self, k: Array) -> Array:
        *window, c, o = k.shape
        groups = self.geometry.groups
        for axis, comb in enumerate(self.combs):
            k = pad(k, axis - 1, 0, comb.taps * len(comb.starts) - window[axis])
        split = [size for comb in self.combs for size in (comb.taps, len(comb.starts))]
        k = k.reshape(*split, c, groups, o // groups).transpose(self._order())
        return k.reshape(*(comb.taps for comb in self.combs), c * self.phases("x"), -1)

    def _kernel_back(self, k: Array) -> Array:
        groups, order = self.geometry.groups, self._order()
        c, o = k.shape[-2] // self.phases("x"), k.shape[-1] // self.phases("y")
        full = [size for comb in self.combs for size in (comb.taps, len(comb.starts))]
        full += [c, groups, o // groups]
        k = k.reshape([full[axis] for axis in order])
        k = k.transpose([order.index(axis) for axis in range(len(order))])
        k = k.reshape(*(comb.taps * len(comb.starts) for comb in self.combs), c, o)
        for axis, size in enumerate(self.geometry.window):
            k = pad(k, axis - 1, 0, size - k.shape[axis])
        return k

    def phases(self, slot: str) -> int:
        return math.prod(len(comb.starts) for comb in self.combs if comb.splits == slot)

    def _order(self) -> list[int]:
        """Axes of `(taps, phases, taps, phases, …, c, g, o/g)` as the inner kernel has them."""
        rank = self.geometry.rank
        c, g, o = range(2 * rank, 2 * rank + 3)
        phases = {w: [2 * a + 1 for a in range(rank) if self.combs[a].splits == w] for w in "xy"}
        return [*range(0, 2 * rank, 2), *phases["x"], c, g, *phases["y"], o]


def inner_geometry(geometry: Geometry, combs: Sequence[Comb]) -> Geometry:
    """The stride-1 geometry between phases."""
    input_size, output_size, padding = [], [], []
    for comb, i, p in zip(combs, geometry.input_size, geometry.output_size, strict=True):
        spread = comb.dilation * (comb.taps - 1)
        if comb.splits == "x":
            i, lo = comb.length, comb.first
        else:
            p, lo = comb.length, -comb.first
        input_size.append(i)
        output_size.append(p)
        padding.append((lo, p + spread - lo - i))
    once = (1,) * geometry.rank
    return replace(
        geometry,
        input_size=tuple(input_size),
        window=tuple(comb.taps for comb in combs),
        output_size=tuple(output_size),
        strides=once,
        padding=tuple(padding),
        input_dilation=once,
        kernel_dilation=tuple(comb.dilation for comb in combs),
    )


def _take_apart(a: Array, axis: int, comb: Comb) -> Array:
    """The phases of one spatial axis, on a new axis before the last."""
    base = min(comb.starts) + comb.step * comb.first
    if not comb.neighbours:
        starts = (start + comb.step * comb.first for start in comb.starts)
        return jnp.stack([every(a, axis, i, comb.step, comb.length) for i in starts], axis=-2)
    a = pad(a, axis, -base, base + comb.step * comb.length - a.shape[axis + 1])
    a = a.reshape(*a.shape[: axis + 1], comb.length, comb.step, *a.shape[axis + 2 :])
    a = pad(a, axis + 1, 0, len(comb.starts) - comb.step)
    return jnp.moveaxis(_in_order_of_taps(a, axis + 1, comb), axis + 2, -2)


def _put_together(a: Array, axis: int, comb: Comb, size: int) -> Array:
    """The transpose of `_take_apart`, for an axis of `size`."""
    base = min(comb.starts) + comb.step * comb.first
    if comb.step == 1:
        return pad(a[..., 0, :], axis, base, size - base - comb.length)
    if comb.neighbours:
        a = _in_order_of_taps(jnp.moveaxis(a, -2, axis + 2), axis + 1, comb)
        a = pad(a, axis + 1, 0, comb.step - len(comb.starts))
        whole = a.reshape(*a.shape[: axis + 1], comb.length * comb.step, *a.shape[axis + 3 :])
        return pad(whole, axis, base, size - base - comb.step * comb.length)
    phases = {}
    shifts = [divmod(start - min(comb.starts), comb.step) for start in comb.starts]
    longest = comb.length + max(shift for shift, _ in shifts)
    for number, (shift, phase) in enumerate(shifts):
        phases[phase] = pad(a[..., number, :], axis, shift, longest - comb.length - shift)
    whole = interleaved(phases, axis, comb.step)
    return pad(whole, axis, base, size - base - comb.step * longest)


def _in_order_of_taps(a: Array, axis: int, comb: Comb) -> Array:
    """Phases in the order of their places as in that of their taps, or back."""
    return a if comb.starts[0] == min(comb.starts) else lax.rev(a, [axis + 1])
