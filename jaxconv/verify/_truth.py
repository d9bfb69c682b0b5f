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

import numpy as np

from . import _constants
from ._differences import Slopes, all_steps, few_steps, slopes, slopes_of
from ._operations import FINE
from ._primal import BATCH, Primal
from ._problem import Leaf, Problem
from ._rounding import Measured, of_comparison


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


def scales(leaves: Sequence[Leaf], point: np.ndarray) -> np.ndarray:
    """A step's natural size for each element, between its magnitude and that of its array.

    It is the geometric mean of both where the element is the smaller one, up to a factor. So the
    finest steps are small enough for a function that changes as fast as `sqrt` does near zero, and
    the widest are large enough to be seen where the element is small by chance. Zero has no size of
    its own: it gets that of its array, or 1, which is small beside large numbers.
    """
    found = np.ones_like(point)
    for leaf in leaves:
        values = np.abs(point[leaf.elements])
        if values.any():
            typical = np.median(values[values > 0])
            means = np.sqrt(values) * np.sqrt(typical)  # the product may be too large
            sizes = np.clip(means, values, _constants.WIDER * values)
            found[leaf.elements] = np.where(values > 0, sizes, min(typical, 1.0))
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
        return _with_numbers(primal, confirmed, cotangents)
    if primal.can_hold:
        moving = confirmed
        primal.hold()
        confirmed = _confirmed(primal, autodiff, cotangents, directions, source)
        if confirmed.is_autodiff:
            return _with_numbers(primal, confirmed, cotangents)
        primal.let_go()
        confirmed = moving
    if primal.problem.size > _constants.COORDINATES:
        return confirmed
    rows, errors = _by_coordinates(primal, np.arange(primal.problem.size), cotangents)
    source = f"{primal.differences}, every coordinate"
    return replace(confirmed, reverse=rows, reverse_error=errors, source=source)


def _with_numbers(primal, truth, cotangents):
    """The truth with differences where autodiff says NaN or inf and the function has a slope.

    JAX differentiates both branches of a `where`, and 0 times the infinity of the other is NaN.
    """
    lost = np.flatnonzero(~np.isfinite(truth.reverse).all(axis=0))
    if not 0 < len(lost) <= _constants.COORDINATES:
        return truth
    rows, errors = _by_coordinates(primal, lost, cotangents)
    reverse, error = truth.reverse.copy(), truth.reverse_error.copy()
    known = np.isfinite(rows) & np.isfinite(errors)
    reverse[:, lost] = np.where(known, rows, reverse[:, lost])
    error[:, lost] = np.where(known, errors, error[:, lost])
    return replace(truth, reverse=reverse, reverse_error=error)


def _by_coordinates(primal, elements, cotangents):
    """Gradients of some elements by differences along each, and how far they may be off."""
    steps, rows, errors = coordinate_steps(primal), [], []
    chunk = max(1, BATCH // (len(steps) * (primal.problem.size + primal.problem.output_size)))
    for first in range(0, len(elements), chunk):
        columns = coordinate_slopes(primal, elements[first : first + chunk], steps)
        rows.append(cotangents @ columns.central.T)
        error = np.where(np.isfinite(columns.central), columns.error, np.inf)
        found = _constants.ERRORS * np.abs(cotangents) @ error.T
        errors.append(np.where(np.isnan(found), np.inf, found))  # a cotangent of 0 times infinity
    return np.concatenate(rows, axis=1), np.concatenate(errors, axis=1)


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
    source = f"{primal.differences}, random directions"
    return Truth(None, None, by_differences, errors, lines, source, False)


def _agrees(row, rounding, line, unit):
    """Whether autodiff's `J v` is the slope, or between the two slopes of a kink."""
    slack = _constants.ERRORS * line.error + rounding + of_comparison(row, unit)
    low, high = np.minimum(line.left, line.right), np.maximum(line.left, line.right)
    is_slope = np.abs(row - line.central) <= slack
    fine = _constants.ERRORS * line.finest_error + rounding + of_comparison(row, unit)
    is_known = fine <= _constants.KNOWN * np.abs(line.finest)
    is_slope |= is_known & (np.abs(row - line.finest) <= fine)
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
