"""Where a function has a kink, any value between the slopes to its two sides is a subgradient."""

from dataclasses import dataclass

import numpy as np

from ._differences import slopes
from ._truth import BATCH, ERRORS, Primal, coordinate_slopes, scales, step_sizes

# Elements tested one by one; of more, so many are drawn.
ELEMENTS = 512


@dataclass(frozen=True)
class Kinks:
    """What differences say of elements whose gradient is not the expected one.

    Attributes:
      is_kink: Whether the function has a kink there, along that coordinate.
      is_subgradient: Whether the reported value lies between the slopes to the two sides.
      low, high: Those slopes.
      together: Along the direction in which all the kinks' elements rise together: the gradient's
        slope, and the least and the largest that it can be. None where nothing was accepted.
    """

    is_kink: np.ndarray
    is_subgradient: np.ndarray
    low: np.ndarray
    high: np.ndarray
    together: tuple[float, float, float] | None


def look(
    primal: Primal, elements: np.ndarray, reported: np.ndarray, w: np.ndarray, seed: int
) -> Kinks:
    """Compare the gradient at some elements with the slopes to either side.

    Each slope alone isn't enough: if two elements tie for a maximum, either may receive the
    gradient, but not both. So all are moved together, too, and the sum must fit.

    Args:
      primal: The function's values.
      elements: Flat positions of the elements.
      reported: The gradient of `<w, f>` there.
      w: The cotangent, flat.
      seed: Draws from more elements than can be tried.
    """
    steps = step_sizes(primal)[2:]
    tried = np.arange(len(elements))
    if len(tried) > ELEMENTS:
        tried = np.sort(np.random.default_rng([seed, 2]).choice(tried, ELEMENTS, replace=False))
    low, high, slack = (np.full(len(elements), np.nan) for _ in range(3))
    width = len(steps) * (primal.problem.size + primal.problem.output_size)
    chunk = max(1, BATCH // width)
    for first in range(0, len(tried), chunk):
        here = tried[first : first + chunk]
        found = coordinate_slopes(primal, elements[here], steps)
        low[here], high[here], slack[here] = _between(w, found)
    with np.errstate(invalid="ignore"):
        is_kink = high - low > 2 * slack
        is_subgradient = is_kink & (low - slack <= reported) & (reported <= high + slack)
    if is_subgradient[tried].all():  # of those that were drawn, and so of the rest
        rest = np.isnan(low)
        is_kink, is_subgradient = is_kink | rest, is_subgradient | rest
    return Kinks(
        is_kink, is_subgradient, low, high, _together(primal, elements, reported, is_subgradient, w)
    )


def fits(together: tuple[float, float, float] | None) -> bool:
    """Whether the gradient is one along the direction in which all kinks move together."""
    return together is None or together[1] <= together[0] <= together[2]


def _between(w, found):
    """The least and largest slope of `<w, f>`, each result on whichever side of its kink."""
    sides = found.left * w, found.right * w
    low, high = np.minimum(*sides).sum(axis=-1), np.maximum(*sides).sum(axis=-1)
    return low, high, ERRORS * (np.abs(w) * found.side_error).sum(axis=-1)


def _together(primal, elements, reported, accepted, w):
    if not accepted.any():
        return None
    direction = np.zeros_like(primal.point)
    scale = scales(primal.problem.leaves, primal.point)[elements[accepted]].max()
    direction[elements[accepted]] = scale
    found = slopes(primal, primal.point, direction, step_sizes(primal)[2:])
    low, high, slack = _between(w, found)
    return float(reported[accepted].sum() * scale), float(low - slack), float(high + slack)
