"""The scatter of a max pool's gradient as one loop over the input, a few comparisons an element.

Tap r of window p meets element s·p + d·r - lo. For element s·q + φ, of phase φ < s, that means

    d·r - lo = s·u + φ    with the shift    u = q - p.

So each shift has at most one tap for each phase, and

    x[s·q + φ] = Σ_u y[q - u] [index[q - u] = the tap of (u, φ)]                                (1)

with as many terms as there are shifts: one for windows that lie side by side, and four, not nine,
for 3×3 windows of stride 2. Phases have an axis of their own, over which y and index broadcast, so
nothing is interleaved.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._geometry import Axis, Geometry
from ..._typing import Array
from ._arrays import add_up
from ._hints import Hints
from ._padding import pad_spatial

# For each shift along one axis, the tap of each phase; -1 where there is none.
Shifts = dict[int, np.ndarray]


def scatter_by_shifts(y: Array, index: Array, geometry: Geometry, hints: Hints) -> Array:
    """(1), for `y` and `index` of shape `(n, *output, c)`."""
    n, c = y.shape[0], y.shape[-1]
    y, index = hints.in_vectors(y), hints.in_vectors(index)
    shifts_of_axes, steps = [], []
    for axis, a in enumerate(geometry.axes()):
        shifts = shifts_of(a)
        shifts_of_axes.append(shifts)
        steps.append(-(-a.i // a.s))
        # Every shift sees a part of these, and nothing beyond.
        sides = max(shifts), steps[axis] - a.p - min(shifts)
        y, index = pad_spatial(y, axis, *sides), pad_spatial(index, axis, *sides, -1)
    if any(len(shifts) > 1 for shifts in shifts_of_axes):
        # Without a hint XLA's CPU compiler would pad again, for each shift and each element.
        y, index = hints.separate((y, index))
    zero, between = jnp.zeros((), y.dtype), [2 * axis + 2 for axis in range(geometry.rank)]

    def term(chosen_shifts: tuple[int, ...]) -> Array:
        of_phases = [s[u] for s, u in zip(shifts_of_axes, chosen_shifts, strict=True)]
        moved, chosen = y, index
        for axis, (u, shifts, size) in enumerate(
            zip(chosen_shifts, shifts_of_axes, steps, strict=True)
        ):
            start = max(shifts) - u
            moved, chosen = (
                lax.slice_in_dim(a, start, start + size, axis=axis + 1) for a in (moved, chosen)
            )
        numbers = jnp.asarray(_tap_numbers(of_phases, geometry), index.dtype)
        is_mine = jnp.expand_dims(chosen, between) == jnp.expand_dims(numbers, -1)
        return jnp.where(is_mine, jnp.expand_dims(moved, between), zero)

    x = add_up(term(chosen) for chosen in itertools.product(*shifts_of_axes))
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


def _tap_numbers(of_phases: Sequence[np.ndarray], geometry: Geometry) -> np.ndarray:
    """The row-major number of the tap at each combination of phases; -2 where there is none."""
    numbers, exist = np.zeros((), int), np.ones((), bool)
    for of_phase, r in zip(of_phases, geometry.window, strict=True):
        numbers = numbers[..., None] * r + of_phase
        exist = exist[..., None] & (of_phase >= 0)
    numbers = np.where(exist, numbers, -2)
    return np.expand_dims(numbers, (0, *(2 * axis + 1 for axis in range(geometry.rank)), -1))
