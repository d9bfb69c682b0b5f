"""What the derivative is: from the values of the function alone, never from its rule.

Two derivatives of the values are taken, in float64:

  - *autodiff of the primal*: JAX differentiates what the function computes, with the custom rules
    set aside. It is exact to rounding for every element, but trusts JAX's rules, and those of
    primitives that somebody else has defined.
  - *differences*: f(x + v) - f(x), exact where f is linear in an argument, else extrapolated. They
    trust nothing, and see every element of the Jacobian along a random direction v: an error in
    any of them changes the slope.

The first is the truth where the second confirms it. Where it doesn't, or where there is no first,
differences along every coordinate are, or along random directions if the coordinates are too many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from . import _constants
from ._differences import Slopes, all_steps, few_steps, slopes, slopes_of
from ._interpreter import computations, equations, evaluate, has_loops, straight_equations
from ._operations import FINE, Arithmetic, is_smooth
from ._problem import Leaf, Problem, split
from ._rounding import Measured, of_comparison

# Coordinates are tried in batches of as many as make this many numbers.
BATCH = 1 << 22


@dataclass(frozen=True)
class Truth:
    """Derivatives and how far they may be off, one row for each cotangent or direction.

    Attributes:
      reverse, reverse_error: `Jᵀ w` for each cotangent, flat over all arguments; None if unknown.
      forward, forward_error: `J v` for each direction.
      slopes: Of the function along each direction, by differences.
      source: Where the truth is from, for the report.
      is_autodiff: Whether it is the primal's autodiff, which can be asked at other points.
    """

    reverse: np.ndarray | None
    reverse_error: np.ndarray | None
    forward: np.ndarray
    forward_error: np.ndarray
    slopes: tuple[Slopes, ...]
    source: str
    is_autodiff: bool


class Primal:
    """The values of a function in float64, at any point.

    What stands behind `stop_gradient` can be held constant: that its derivative is zero may be what
    the author asks for, as in straight-through rounding, and then differences must not see it
    move. Or it is an implementation's way to keep JAX out of what it differentiates by a rule, as
    in the solution of linear equations; `settle` finds out which.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.traced = jax.make_jaxpr(problem.function)(*problem.point)
        # How exact values are, and the arithmetic that formulas are judged by, see `_precision.py`.
        self.unit, self.arithmetic = FINE, Arithmetic()
        self.point = np.concatenate(
            [np.asarray(a).astype(np.float64).ravel() for a in problem.point]
        )

        def held(flat):
            found: list[Any] = []

            def visit(equation, _, results, is_narrow):
                if equation.primitive.name == "stop_gradient":
                    found.extend(results)
                return results

            self.function64(*split(problem.leaves, flat), visit=visit)
            return found

        def values(flat, constants):
            constants = list(constants)

            def visit(equation, _, results, is_narrow):
                if equation.primitive.name != "stop_gradient":
                    return results
                return [constants.pop(0) for _ in results]

            results = self.function64(*split(problem.leaves, flat), visit=visit)
            return jnp.concatenate([jnp.ravel(result) for result in results])

        def plain(flat, _):
            results = self.function64(*split(problem.leaves, flat))
            return jnp.concatenate([jnp.ravel(result) for result in results])

        # In a loop nothing can be held: what stands there has many values.
        straight, everywhere = (
            _stops(straight_equations(self.traced)),
            _stops(equations(self.traced)),
        )
        self.stops, self.can_hold = everywhere > 0, 0 < straight == everywhere
        self.is_smooth = is_smooth(computations(self.traced))
        self._held, self._functions = [], (held, values)
        self._compiled = jax.jit if has_loops(self.traced) else lambda function: function
        self._values = self._compiled(plain)
        self._batched: Any = None

    def function64(self, *leaves: Any, visit: Any = None) -> tuple:
        """The function on float64 leaves, without custom rules; can be differentiated."""
        return tuple(evaluate(self.traced, leaves, visit))

    def largest(self) -> float:
        """The largest number that occurs as the function is computed, constants left out."""
        found = [0.0]

        def visit(equation, operands, results, is_narrow):
            for result in results:
                if not isinstance(result, Tracer) and jnp.issubdtype(result.dtype, jnp.inexact):
                    sizes = np.abs(np.asarray(result))
                    found.append(sizes.max(initial=0.0, where=np.isfinite(sizes)))
            return results

        with jax.enable_x64(True):
            self.function64(*split(self.problem.leaves, self.point), visit=visit)
        return float(max(found))

    def hold(self) -> None:
        """From now on hold constant what stands behind `stop_gradient`."""
        held, values = self._functions
        with jax.enable_x64(True):
            self._held = self._compiled(held)(self.point)
        self._values, self._batched = self._compiled(values), None

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(self._values(flat, self._held))

    def many(self, points: np.ndarray) -> np.ndarray:
        """The values at each row of `points`."""
        if self._batched is None:
            self._batched = self._compiled(jax.vmap(self._values, in_axes=(0, None)))
        most = max(1, min(256, BATCH // (points.shape[1] + self.problem.output_size)))
        # Batches of few sizes, which JAX has compiled each primitive for.
        size = next((size for size in (4, 16, 64) if len(points) <= size <= most), most)
        padded = np.concatenate([points, np.repeat(points[:1], -len(points) % size, axis=0)])
        try:
            with jax.enable_x64(True):
                rows = [
                    np.asarray(self._batched(padded[i : i + size], self._held))
                    for i in range(0, len(padded), size)
                ]
        except NotImplementedError:  # a primitive without a batching rule
            return np.stack([self(point) for point in points])
        return np.concatenate(rows)[: len(points)]


def _stops(found):
    return sum(equation.primitive.name == "stop_gradient" for equation in found)


def scales(leaves: Sequence[Leaf], point: np.ndarray) -> np.ndarray:
    """A step's natural size for each element, between its magnitude and that of its array.

    It is the geometric mean of both where the element is the smaller one. So the finest steps are
    small enough for a function that changes as fast as `sqrt` does near zero, and the widest are
    large enough to be seen where the element is small by chance.
    """
    found = np.ones_like(point)
    for leaf in leaves:
        values = np.abs(point[leaf.elements])
        largest = values.max(initial=0.0)
        if largest:
            typical = largest * np.sqrt(np.mean((values / largest) ** 2))
            means = np.sqrt(values) * np.sqrt(typical)  # the product may be too large
            found[leaf.elements] = np.where(values > 0, np.maximum(values, means), typical)
    return found


def step_sizes(primal: Primal) -> tuple[float, ...]:
    """The steps for a function of that size."""
    return few_steps() if is_large(primal.problem) else all_steps()


def is_large(problem: Problem) -> bool:
    """Whether a function has so many numbers that less is evaluated."""
    return problem.size + problem.output_size > _constants.LARGE


def coordinate_steps(primal: Primal) -> tuple[float, ...]:
    """The steps along single coordinates, which are many."""
    if primal.unit > FINE:  # noise hides small steps
        return step_sizes(primal)
    return step_sizes(primal)[_constants.SKIPPED_OF_COORDINATES :]


def settle(
    primal: Primal,
    autodiff: tuple[Measured | None, Measured | None],
    cotangents: np.ndarray,
    directions: np.ndarray,
    source: str,
) -> Truth:
    """Find the truth.

    Args:
      primal: The function's values.
      autodiff: `Jᵀ w` of each cotangent and `J v` of each direction by autodiff of the primal, each
        None where that has no rule.
      cotangents, directions: One a row.
      source: What to call autodiff.
    """
    confirmed = _confirmed(primal, autodiff, cotangents, directions, source)
    if confirmed.is_autodiff:
        return confirmed
    if primal.can_hold:
        moving, primal_values = confirmed, (primal._held, primal._values)
        primal.hold()
        confirmed = _confirmed(primal, autodiff, cotangents, directions, source)
        if confirmed.is_autodiff:
            return confirmed
        primal._held, primal._values = primal_values
        primal._batched, confirmed = None, moving
    if primal.problem.size > _constants.COORDINATES:
        return confirmed
    steps, rows, row_errors = coordinate_steps(primal), [], []
    chunk = max(1, BATCH // (len(steps) * (primal.problem.size + primal.problem.output_size)))
    for first in range(0, primal.problem.size, chunk):
        here = np.arange(first, min(first + chunk, primal.problem.size))
        columns = coordinate_slopes(primal, here, steps)
        rows.append(cotangents @ columns.central.T)
        row_errors.append(_constants.ERRORS * np.abs(cotangents) @ columns.error.T)
    return replace(
        confirmed,
        reverse=np.concatenate(rows, axis=1),
        reverse_error=np.concatenate(row_errors, axis=1),
        source="differences, every coordinate",
    )


def _confirmed(primal, autodiff, cotangents, directions, source):
    """Autodiff where differences confirm it, else what differences say along the directions."""
    steps = step_sizes(primal)
    lines = tuple(slopes(primal, primal.point, v, steps, primal.unit) for v in directions)
    by_differences = np.stack([line.central for line in lines])
    errors = _constants.ERRORS * np.stack([line.error for line in lines])
    reverse, forward = autodiff
    if forward is not None and reverse is not None:
        rows = forward.value.reshape(len(directions), -1)
        rounding = _constants.MARGIN * forward.rounding.reshape(rows.shape)
        agree = [_agrees(*row, primal.unit) for row in zip(rows, rounding, lines, strict=True)]
        back = reverse.value.reshape(len(cotangents), -1)
        back_rounding = _constants.MARGIN * reverse.rounding.reshape(back.shape)
        if all(agree) and is_adjoint(rows, rounding, back, back_rounding, cotangents, directions):
            return Truth(back, back_rounding, rows, rounding, lines, source, True)
    elif reverse is not None:
        back = reverse.value.reshape(len(cotangents), -1)
        back_rounding = _constants.MARGIN * reverse.rounding.reshape(back.shape)
        if is_adjoint(by_differences, errors, back, back_rounding, cotangents, directions):
            return Truth(back, back_rounding, by_differences, errors, lines, source, True)
    return Truth(None, None, by_differences, errors, lines, "differences, random directions", False)


def _agrees(row, rounding, line, unit):
    """Whether autodiff's `J v` is the slope, or between the two slopes of a kink."""
    slack = _constants.ERRORS * line.error + rounding + of_comparison(row, unit)
    low, high = np.minimum(line.left, line.right), np.maximum(line.left, line.right)
    is_slope = np.abs(row - line.central) <= slack
    between = line.is_kink & (low - slack <= row) & (row <= high + slack)
    both_undefined = ~np.isfinite(row) & ~np.isfinite(line.central)
    return bool(np.all(is_slope | between | both_undefined))


def is_adjoint(
    forward: np.ndarray,
    forward_error: np.ndarray,
    reverse: np.ndarray,
    reverse_error: np.ndarray,
    cotangents: np.ndarray,
    directions: np.ndarray,
) -> bool:
    """The dot test, `<w, J v> = <Jᵀ w, v>` for every pair, to within the errors given."""
    gap, bound = dot_gap(forward, forward_error, reverse, reverse_error, cotangents, directions)
    return bool(np.all(~(np.abs(gap) > bound)))


def dot_gap(forward, forward_error, reverse, reverse_error, cotangents, directions):
    """`<w, J v> - <Jᵀ w, v>` for every pair, and what rounding explains of it."""
    # Elements where a derivative doesn't exist take no part, on either side.
    forward, reverse = np.nan_to_num(forward), np.nan_to_num(reverse)
    gap = cotangents @ forward.T - reverse @ directions.T
    bound = np.abs(cotangents) @ forward_error.T + reverse_error @ np.abs(directions).T
    sums = np.abs(cotangents) @ np.abs(forward).T + np.abs(reverse) @ np.abs(directions).T
    return gap, bound + FINE * max(forward.shape[1], reverse.shape[1]) * sums


def coordinate_slopes(primal: Primal, coordinates: np.ndarray, steps: tuple[float, ...]) -> Slopes:
    """Slopes along some coordinates, a row of results for each: the columns of the Jacobian."""
    point, scale = primal.point, scales(primal.problem.leaves, primal.point)
    rows = []
    for sign in (1.0, -1.0):
        points = np.repeat(point[None], len(coordinates) * len(steps), axis=0)
        each = points.reshape(len(steps), len(coordinates), -1)
        for row, t in zip(each, steps, strict=True):
            row[np.arange(len(coordinates)), coordinates] += sign * t * scale[coordinates]
        rows.append(primal.many(points).reshape(len(steps), len(coordinates), -1))
    start = np.broadcast_to(primal(point), rows[0].shape[1:])
    found = slopes_of(start, rows[0], rows[1], steps, primal.unit)
    size = scale[coordinates][:, None]
    return replace(
        found,
        central=found.central / size,
        error=found.error / size,
        left=found.left / size,
        right=found.right / size,
        side_error=found.side_error / size,
    )
