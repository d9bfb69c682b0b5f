"""Subgradients: at a kink any value between the slopes to the two sides is accepted."""

from dataclasses import dataclass

import numpy as np

from .. import _constants
from .._problem import Leaf
from ._differences import slopes
from ._truth import BATCH, Primal, coordinate_slopes, coordinate_steps, scales


@dataclass(frozen=True)
class Kinks:
    """What finite differences say of elements whose gradient is not the expected one.

    Attributes:
      is_kink: Whether the function has a kink along the coordinate.
      is_subgradient: Whether the reported value lies between the slopes to the two sides.
      low: The smaller of these slopes.
      high: The larger of these slopes.
      together: For directions in which tied elements move together: the slope according to the
        gradient, and the least and the largest slope of the function. Empty if no element was
        accepted.
    """

    is_kink: np.ndarray
    is_subgradient: np.ndarray
    low: np.ndarray
    high: np.ndarray
    together: tuple[tuple[float, float, float], ...]


def look(
    primal: Primal,
    leaf: Leaf,
    elements: np.ndarray,
    gradient: np.ndarray,
    w: np.ndarray,
    seed: int,
    nearby: np.ndarray | None = None,
) -> Kinks:
    """Compare the gradient at some elements with the slopes to both sides.

    The slopes along single coordinates are not sufficient. If two elements tie for a maximum,
    either may receive the gradient, but not both. All elements are therefore also moved together,
    which keeps the ties, and the sum of their gradients must be a slope.

    Args:
      primal: The values of the function.
      leaf: The array that holds the elements.
      elements: The positions of the elements in it.
      gradient: The reported gradient of `<w, f>`, flat over all arrays.
      w: The cotangent, flat.
      seed: The seed of a sample, if there are too many elements to try each.
      nearby: The true gradients of `<w, f>` at points next to this one, one per row. They include
        sides of the kink that single coordinates don't reach.
    """
    elements = leaf.start + elements
    reported = gradient[elements]
    if nearby is not None:
        low, high, slack = range_of(nearby)
        is_one = np.all((np.abs(nearby - gradient) <= slack)[:, leaf.elements], axis=1)
        low, high, slack = low[elements], high[elements], slack[elements]
        # The gradient at a neighbouring point is a subgradient in all elements together.
        is_kink = high - low > slack
        if is_one.any() and is_kink.any():
            return Kinks(is_kink, is_kink, low, high, ())
    steps = coordinate_steps(primal)
    tried = np.arange(len(elements))
    most = _constants.KINK_ELEMENTS
    if len(tried) > most:
        tried = np.sort(np.random.default_rng([seed, 2]).choice(tried, most, replace=False))
    low, high, slack = (np.full(len(elements), np.nan) for _ in range(3))
    width = len(steps) * (primal.problem.size + primal.problem.output_size)
    chunk = max(1, BATCH // width)
    for first in range(0, len(tried), chunk):
        here = tried[first : first + chunk]
        found = coordinate_slopes(primal, elements[here], steps)
        low[here], high[here], slack[here] = _between(w, found)
    with np.errstate(invalid="ignore"):
        is_kink = high - low > _constants.KINK_OF_GRADIENT * slack
        least, most = low - slack, high + slack
        if nearby is not None:
            low_near, high_near, slack_near = range_of(nearby[:, elements])
            is_kink |= high_near - low_near > slack_near
            low, high = np.fmin(low, low_near), np.fmax(high, high_near)
            least = np.fmin(least, low_near - slack_near)
            most = np.fmax(most, high_near + slack_near)
        is_subgradient = is_kink & (least <= reported) & (reported <= most)
    if is_subgradient[tried].all():  # if all of the sample are, all are
        rest = np.isnan(low)
        is_kink, is_subgradient = is_kink | rest, is_subgradient | rest
    together = []
    if is_subgradient.any():
        whole = np.arange(leaf.start, leaf.start + leaf.size)
        for moved in (elements[is_subgradient], whole):
            together.append(_together(primal, moved, gradient, w, nearby))
    return Kinks(is_kink, is_subgradient, low, high, tuple(together))


def misfit(kinks: Kinks) -> tuple[float, float, float] | None:
    """The first direction along which the gradient gives no slope of the function."""
    return next((found for found in kinks.together if not found[1] <= found[0] <= found[2]), None)


def _between(w, found):
    """The least and the largest slope of `<w, f>`, with each result on either side of its kink."""
    sides = found.left * w, found.right * w
    low, high = np.minimum(*sides).sum(axis=-1), np.maximum(*sides).sum(axis=-1)
    return low, high, _constants.ERRORS * (np.abs(w) * found.side_error).sum(axis=-1)


def range_of(nearby: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The range of each element over the points, and a tolerance for their distance."""
    finite = np.where(np.isfinite(nearby), nearby, np.nan)
    least, most = np.fmin.reduce(finite), np.fmax.reduce(finite)
    return least, most, np.sqrt(_constants.NEARBY) * np.fmax(np.abs(least), np.abs(most))


def _together(primal, elements, gradient, w, nearby):
    direction = np.zeros_like(primal.point)
    scale = scales(primal.problem.leaves, primal.point)[elements].max()
    direction[elements] = scale
    steps = coordinate_steps(primal)
    found = slopes(primal, primal.point, direction, steps, primal.unit)
    low, high, slack = _between(w, found)
    low, high = low - slack, high + slack
    if nearby is not None:
        least, most, slack = range_of(nearby[:, elements].sum(axis=1, keepdims=True) * scale)
        low, high = np.fmin(low, (least - slack)[0]), np.fmax(high, (most + slack)[0])
    return float(gradient[elements].sum() * scale), float(low), float(high)
