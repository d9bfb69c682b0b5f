"""The true derivative, from the values of the function and never from its rules.

Two derivatives of the values are taken in float64:

  - *Autodiff of the primal*: JAX differentiates what the function computes, without the custom
  rules. It is exact to rounding for every element, but relies on the rules of JAX and on those of
  user-defined primitives.
  - *Finite differences*, f(x + v) - f(x): exact where f is linear, extrapolated elsewhere. They
  rely on nothing. Along a random direction v every element of the Jacobian contributes, so an error
  in any of them changes the slope.

Autodiff is the truth if the differences confirm it. Otherwise the truth is differences along every
coordinate, or along random directions if there are too many coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import _constants
from .._problem import Leaf, Problem
from ._differences import Slopes, all_steps, few_steps, slopes, slopes_of
from ._operations import FINE
from ._primal import BATCH, Primal
from ._rounding import Measured, of_comparison


@dataclass(frozen=True)
class Truth:
    """Derivatives and their errors, a row for each cotangent or direction.

    Attributes:
      reverse: `Jᵀ w` for each cotangent, flat over all arguments; None if unknown.
      reverse_error: The error of `reverse`.
      forward: `J v` for each direction.
      forward_error: The error of `forward`.
      slopes: The slopes along each direction by finite differences.
      source: Where the truth is from, for the report.
      is_autodiff: Whether it is autodiff of the primal, which is available at other points, too.
    """

    reverse: np.ndarray | None
    reverse_error: np.ndarray | None
    forward: np.ndarray
    forward_error: np.ndarray
    slopes: tuple[Slopes, ...]
    source: str
    is_autodiff: bool


def scales(leaves: Sequence[Leaf], point: np.ndarray) -> np.ndarray:
    """The natural size of a step for each element, between its magnitude and that of its array.

    It is the geometric mean of the two if the element is the smaller one, up to a factor. The
    finest steps are then small enough for functions that change as fast as `sqrt` does near zero,
    and the widest are large enough for an element that is small by chance. The scale of zero is
    that of its array, but at most 1.
    """
    found = np.ones_like(point)
    for leaf in leaves:
        values = np.abs(point[leaf.elements])
        if values.any():
            typical = np.median(values[values > 0])
            means = np.sqrt(values) * np.sqrt(typical)  # their product may overflow
            sizes = np.clip(means, values, _constants.WIDER * values)
            found[leaf.elements] = np.where(values > 0, sizes, min(typical, 1.0))
    return found


def step_sizes(primal: Primal) -> tuple[float, ...]:
    """The steps for a function of this size."""
    return few_steps() if is_large(primal.problem) else all_steps()


def is_large(problem: Problem) -> bool:
    """Whether a function has so many elements that fewer evaluations are made."""
    return problem.size + problem.output_size > _constants.LARGE


def coordinate_steps(primal: Primal) -> tuple[float, ...]:
    """The steps along single coordinates, of which there are many."""
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
      primal: The values of the function.
      autodiff: `Jᵀ w` of each cotangent and `J v` of each direction by autodiff of the primal; None
        where autodiff has no rule.
      cotangents: The cotangents, one per row.
      directions: The directions, one per row.
      source: The name of autodiff in the report.
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
    rows, errors = by_coordinates(primal, np.arange(primal.problem.size), cotangents)
    source = f"{primal.differences} along every coordinate"
    return replace(confirmed, reverse=rows, reverse_error=errors, source=source)


def _with_numbers(primal, truth, cotangents):
    """Replace NaN and infinity of autodiff by differences where the function has a slope.

    JAX differentiates both branches of a `where`, and 0 times the infinity of the other branch is
    NaN.
    """
    lost = np.flatnonzero(~np.isfinite(truth.reverse).all(axis=0))
    if not 0 < len(lost) <= _constants.COORDINATES:
        return truth
    rows, errors = by_coordinates(primal, lost, cotangents)
    reverse, error = truth.reverse.copy(), truth.reverse_error.copy()
    known = np.isfinite(rows) & np.isfinite(errors)
    reverse[:, lost] = np.where(known, rows, reverse[:, lost])
    error[:, lost] = np.where(known, errors, error[:, lost])
    return replace(truth, reverse=reverse, reverse_error=error)


def by_coordinates(
    primal: Primal, elements: np.ndarray, cotangents: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of some elements by differences along each coordinate, and their errors."""
    steps, rows, errors = coordinate_steps(primal), [], []
    chunk = max(1, BATCH // (len(steps) * (primal.problem.size + primal.problem.output_size)))
    for first in range(0, len(elements), chunk):
        columns = coordinate_slopes(primal, elements[first : first + chunk], steps)
        rows.append(cotangents @ columns.central.T)
        error = np.where(np.isfinite(columns.central), columns.error, np.inf)
        found = _constants.ERRORS * np.abs(cotangents) @ error.T
        errors.append(np.where(np.isnan(found), np.inf, found))  # 0 times infinity
    return np.concatenate(rows, axis=1), np.concatenate(errors, axis=1)


def _confirmed(primal, autodiff, cotangents, directions, source):
    """Autodiff if differences confirm it, else the differences along the directions."""
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
    source = f"{primal.differences} along random directions"
    return Truth(None, None, by_differences, errors, lines, source, False)


def _agrees(row, rounding, line, unit):
    """Whether autodiff's `J v` is the slope, or lies between the two slopes of a kink."""
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
    """The dot test: whether `<w, J v> = <Jᵀ w, v>` for every pair, up to the errors given."""
    gap, bound = dot_gap(forward, forward_error, reverse, reverse_error, cotangents, directions)
    return bool(np.all(~(np.abs(gap) > bound)))


def dot_gap(forward, forward_error, reverse, reverse_error, cotangents, directions):
    """`<w, J v> - <Jᵀ w, v>` for every pair, and the part of it that rounding explains."""
    # Elements without a derivative are left out on both sides.
    forward, reverse = np.nan_to_num(forward), np.nan_to_num(reverse)
    gap = cotangents @ forward.T - reverse @ directions.T
    bound = np.abs(cotangents) @ forward_error.T + reverse_error @ np.abs(directions).T
    sums = np.abs(cotangents) @ np.abs(forward).T + np.abs(reverse) @ np.abs(directions).T
    return gap, bound + FINE * max(forward.shape[1], reverse.shape[1]) * sums


def coordinate_slopes(primal: Primal, coordinates: np.ndarray, steps: tuple[float, ...]) -> Slopes:
    """The slopes along some coordinates, a row for each: columns of the Jacobian."""
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
