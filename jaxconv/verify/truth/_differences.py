"""Slopes along a line by finite differences, without a step size to choose.

For steps t that decrease by factors of four, the error of the central quotient c(t) = (y(t) -
y(-t)) / 2t is proportional to t². Two steps cancel it:

    R(t) = (16 c(t/4) - c(t)) / 15,       R(t) - slope = O(t⁴) + O(eps |y| / t)                (1)

The first error dominates for large steps, the second for small ones. Each element of the result
takes the step at which (1) agrees best with its neighbours; their disagreement is its error. Near a
kink an element therefore uses steps that are smaller than the distance to the kink, and other
elements are not affected. The one-sided quotients, (4 q(t/4) - q(t)) / 3, show a kink at the point
itself.

Source: Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", 1982,
doi:10.1016/S0141-1195(82)80057-0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _constants

# The number of elements whose slopes are computed at once.
_BLOCK = 1 << 14

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Slopes:
    """The slopes of a vector-valued function along a line.

    Attributes:
      central: The slope of each element; at a kink, the mean of both sides.
      error: The error of `central`.
      left: The slope to the left.
      right: The slope to the right.
      side_error: The error of `left` and `right`.
      finest: The slope along the finest steps. A function that oscillates about a slope has that
        slope along wide steps and its own slope along the finest.
      finest_error: The error of `finest`.
      is_kink: Where `left` and `right` differ by more than their error.
      start: The values at the point.
      ahead: The values at each step ahead.
      steps: The steps.
    """

    central: np.ndarray
    error: np.ndarray
    left: np.ndarray
    right: np.ndarray
    side_error: np.ndarray
    finest: np.ndarray
    finest_error: np.ndarray
    is_kink: np.ndarray
    start: np.ndarray
    ahead: np.ndarray
    steps: tuple[float, ...]


def all_steps() -> tuple[float, ...]:
    """The steps, from the widest to the finest."""
    first, factor = _constants.FIRST_STEP, _constants.STEP_FACTOR
    return tuple(first / factor**j for j in range(_constants.STEP_COUNT))


def few_steps() -> tuple[float, ...]:
    """The steps for a large function, without the widest."""
    skipped = _constants.SKIPPED_OF_LARGE
    return all_steps()[skipped : skipped + _constants.STEP_COUNT_OF_LARGE]


def slopes(
    function: Callable[[np.ndarray], np.ndarray],
    point: np.ndarray,
    direction: np.ndarray,
    steps: tuple[float, ...],
    unit: float = _EPS,
) -> Slopes:
    """The slopes of `function` at `point` along `direction`; its values are exact to `unit`."""
    start = function(point)
    ahead = np.stack([function(point + t * direction) for t in steps])
    behind = np.stack([function(point - t * direction) for t in steps])
    return slopes_of(start, ahead, behind, steps, unit)


def slopes_of(
    start: np.ndarray,
    ahead: np.ndarray,
    behind: np.ndarray,
    steps: tuple[float, ...],
    unit: float = _EPS,
) -> Slopes:
    """The slopes from values at each step, which are exact to `unit`."""
    shape, rows = start.shape, len(steps)
    y, y_ahead, y_behind = start.reshape(-1), ahead.reshape(rows, -1), behind.reshape(rows, -1)
    typical = float(np.median(np.abs(start))) if start.size else 0.0
    # Block by block, so that the intermediate arrays stay in the caches.
    firsts = range(0, max(start.size, 1), _BLOCK)
    here = [slice(first, first + _BLOCK) for first in firsts]
    blocks = [
        _slopes_of_block(y[i], y_ahead[:, i], y_behind[:, i], steps, typical, unit) for i in here
    ]
    central, error, left, right, side_error, finest, finest_error, is_kink = (
        np.concatenate(parts).reshape(shape) for parts in zip(*blocks, strict=True)
    )
    sides = left, right, side_error, finest, finest_error
    return Slopes(central, error, *sides, is_kink, start, ahead, steps)


def _slopes_of_block(start, ahead, behind, steps, typical, unit):
    t = np.asarray(steps)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = 2 * np.fmax(np.abs(ahead), np.abs(behind))
        sizes = sizes + _size(start, ahead, behind, t, typical)
        noise = _constants.UNITS_OF_VALUES * unit * sizes / t
        factor = _constants.STEP_FACTOR
        moves = np.fmax(np.abs(ahead - start), np.abs(behind - start))
        noise = np.where(_too_wide(moves, t * noise), np.inf, noise)
        middle = (ahead - behind) / (2 * t)
        central, error, finest, finest_error = _extrapolated(middle, factor**2, noise)
        right, error_right, *_ = _extrapolated((ahead - start) / t, factor, noise)
        left, error_left, *_ = _extrapolated((start - behind) / t, factor, noise)
        side_error = error_right + error_left
        is_kink = np.abs(right - left) > _constants.KINK * side_error
        # At the end of the domain one side exists, and its slope is the derivative.
        for side, side_slope, error_of_side, other in (
            (ahead, right, error_right, behind),
            (behind, left, error_left, ahead),
        ):
            alone = np.isfinite(side[-1]) & ~np.isfinite(other[-1]) & np.isfinite(start)
            central = np.where(alone, side_slope, central)
            error = np.where(alone, error_of_side, error)
            right, left = np.where(alone, side_slope, right), np.where(alone, side_slope, left)
            side_error, is_kink = np.where(alone, error_of_side, side_error), is_kink & ~alone
    return central, error, left, right, side_error, finest, finest_error, is_kink


def _too_wide(moves, noise):
    """The steps that are too wide: the function moves as far along a finer step.

    Along fine enough steps it moves in proportion to the step. If no step is fine enough, the slope
    is unknown.
    """

    def is_far(finer):
        return (finer > _constants.ROUGH * moves[:-1]) & (finer > _constants.SEEN * noise[1:])

    wide = is_far(np.fmax.accumulate(moves[::-1])[::-1][1:])
    # The finest steps have few finer ones to compare with. Along each of those it must move less.
    last = max(len(wide) - 4, 0)
    tail = is_far(moves[1:])[last:].any(axis=0, keepdims=True)
    return np.concatenate([wide[:last], np.repeat(tail, len(moves) - last, 0)])


def _size(start, ahead, behind, t, typical):
    """The size of the terms that an element is the sum of, which determines its rounding.

    The terms are unknown, and if they cancel, the size of the element says nothing. They are taken
    to be of typical size, but no larger than CANCELLATION times the movement of the element.
    """
    moved = np.fmax(np.abs(ahead - start), np.abs(behind - start)) / t
    most = np.fmax.reduce(np.where(np.isfinite(moved), moved, 0.0), axis=0)
    return np.maximum(np.abs(start), np.minimum(typical, _constants.CANCELLATION * most))


def _extrapolated(quotients, factor, noise):
    """The best extrapolation (1) of each element and the finest one, with their errors."""
    finer = (factor * quotients[1:] - quotients[:-1]) / (factor - 1)
    gaps = np.abs(np.diff(finer, axis=0))
    # The error is the disagreement with both neighbours, since one alone may be small by chance. It
    # also includes the disagreement of finer steps, which is rounding and grows as steps become
    # smaller.
    rounding = gaps[1:].copy()
    for coarse in range(len(rounding) - 2, -1, -1):
        finer_one = rounding[coarse + 1] / _constants.STEP_FACTOR
        np.fmax(rounding[coarse], finer_one, out=rounding[coarse])
    errors = np.maximum(rounding, gaps[:-1]) + np.maximum(noise[2:-1], noise[1:-2])
    errors = np.where(np.isfinite(errors), errors, np.inf)
    best = errors.argmin(axis=0)[None]
    value = np.take_along_axis(finer[1:-1], best, axis=0)[0]
    return value, np.take_along_axis(errors, best, axis=0)[0], finer[-2], errors[-1]


def taylor_slope(remainders: np.ndarray, noise: np.ndarray) -> float | None:
    """The order of a Taylor remainder in the step; None if it is rounding only.

    It is 2 for a right gradient and 1 for a wrong one.
    """
    seen = remainders > _constants.SEEN_REMAINDER * noise
    pairs = seen[1:] & seen[:-1]
    if not pairs.any():
        return None
    ratios = np.log(remainders[:-1][pairs] / remainders[1:][pairs]) / np.log(_constants.STEP_FACTOR)
    return float(np.median(ratios))
