"""The scatter of a max pool's gradient as one loop over the input, a few comparisons an element.

Tap r of window p meets element s·p + d·r - lo. For element s·q + φ, of phase φ < s, that means

    d·r - lo = s·u + φ    with the shift    u = q - p.

So each shift has at most one tap for each phase, and

    x[s·q + φ] = Σ_u y[q - u] [index[q - u] = the tap of (u, φ)]                                (1)

with as many terms as there are shifts: one for windows that lie side by side, and four, not nine,
for 3×3 windows of stride 2. Phases have an axis of their own, over which y and index broadcast, so
nothing is interleaved. Many shifts are added up in a loop over those of the outer axes.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Axis, Geometry
from ..._typing import Array
from ._arrays import add_up, sum_in_loop
from ._hints import Hints
from ._padding import pad_spatial
from ._taps import MAX_TAPS

# For each shift along one axis, the tap of each phase; -1 where there is none.
Shifts = dict[int, np.ndarray]


def scatter_by_shifts(y: Array, index: Array, geometry: Geometry, hints: Hints) -> Array:
    """(1), for `y` and `index` of shape `(n, *output, c)`."""
    n, c = y.shape[0], y.shape[-1]
    y, index = hints.in_vectors(y), hints.in_vectors(index)
    shifts_of_axes = [shifts_of(a) for a in geometry.axes()]
    counts, steps = [len(shifts) for shifts in shifts_of_axes], []
    for axis, (a, shifts) in enumerate(zip(geometry.axes(), shifts_of_axes, strict=True)):
        steps.append(-(-a.i // a.s))
        # Every shift sees a part of these, and nothing beyond.
        sides = max(shifts), steps[axis] - a.p - min(shifts)
        y, index = pad_spatial(y, axis, *sides), pad_spatial(index, axis, *sides, -1)
    if max(counts, default=1) > 1:
        # Without a hint XLA's CPU compiler would pad again, for each shift and each element.
        y, index = hints.separate((y, index))
    starts = [np.array([max(shifts) - u for u in shifts]) for shifts in shifts_of_axes]
    phases = [np.stack(list(shifts.values())) for shifts in shifts_of_axes]
    zero, between = jnp.zeros((), y.dtype), [2 * axis + 2 for axis in range(geometry.rank)]

    def term(chosen: Sequence[Any]) -> Array:
        """The term of one shift along each axis, given by its place in the tables."""
        moved, tap = y, index
        for axis, (of_axis, i) in enumerate(zip(starts, chosen, strict=True)):
            moved, tap = (_slice(a, _at(of_axis, i), steps[axis], axis + 1) for a in (moved, tap))
        of_phases = [_at(of_axis, i) for of_axis, i in zip(phases, chosen, strict=True)]
        numbers = jnp.asarray(_tap_numbers(of_phases, geometry), index.dtype)
        is_mine = jnp.expand_dims(tap, between) == jnp.expand_dims(numbers, -1)
        return jnp.where(is_mine, jnp.expand_dims(moved, between), zero)

    looped = next(axis for axis in range(len(counts) + 1) if math.prod(counts[axis:]) <= MAX_TAPS)
    inner = list(itertools.product(*map(range, counts[looped:])))

    def unrolled(outer: Sequence[Any]) -> Array:
        return add_up(term((*outer, *of_inner)) for of_inner in inner)

    if looped:
        outer = tuple(counts[:looped])
        x = sum_in_loop(lambda i: unrolled(jnp.unravel_index(i, outer)), math.prod(outer))
    else:
        x = unrolled(())
    whole = tuple(size * s for size, s in zip(steps, geometry.strides, strict=True))
    if whole == geometry.input_size:
        return hints.row_major(x).reshape(n, *whole, c)
    # No hint here: the slice must be fused with the loop before it. A separate slice would copy the
    # whole array.
    return lax.slice(x.reshape(n, *whole, c), (0,) * (len(whole) + 2), (n, *geometry.input_size, c))


def shifts_of(axis: Axis) -> Shifts:
    """The shifts u of (1) along one axis."""
    shifts: Shifts = {}
    for tap in range(axis.r):
        shift, phase = divmod(axis.d * tap - axis.lo, axis.s)
        shifts.setdefault(shift, np.full(axis.s, -1))[phase] = tap
    return shifts


def _tap_numbers(of_phases: Sequence[Any], geometry: Geometry) -> Any:
    """The row-major number of the tap at each combination of phases; -2 where there is none."""
    numbers, exist = np.zeros((), int), np.ones((), bool)
    for of_phase, r in zip(of_phases, geometry.window, strict=True):
        numbers = numbers[..., None] * r + of_phase
        exist = exist[..., None] & (of_phase >= 0)
    where = np.where if isinstance(numbers, np.ndarray) else jnp.where
    between = (0, *(2 * axis + 1 for axis in range(geometry.rank)), -1)
    return jnp.expand_dims(where(exist, numbers, -2), between)


def _at(table: np.ndarray, i: Any) -> Any:
    """An entry of a table, whose number may be known in a loop only."""
    return table[i] if isinstance(i, int) else jnp.asarray(table)[i]


def _slice(a: Array, start: Any, size: int, axis: int) -> Array:
    if isinstance(start, np.integer):
        return lax.slice_in_dim(a, int(start), int(start) + size, axis=axis)
    return lax.dynamic_slice_in_dim(a, start, size, axis=axis)
