"""The wrong element of a gradient that is too large to try each: bisection."""

import numpy as np

from .. import _constants
from .._problem import Leaf
from ._differences import slopes
from ._truth import Primal, scales, step_sizes


def worst_by_halves(
    primal: Primal, leaf: Leaf, reported: np.ndarray, w: np.ndarray, seed: int
) -> list[tuple[int, float, float]]:
    """Bisect the elements of an array, following the half with the larger error.

    Args:
      primal: The values of the function.
      leaf: The array to search.
      reported: The gradient of `<w, f>`, flat over all arrays.
      w: The cotangent.
      seed: The seed of the random directions.

    Returns:
      A list of one: the position of the element, its true slope and the error of that.
    """
    rng, scale = np.random.default_rng([seed, 3]), scales(primal.problem.leaves, primal.point)
    steps = step_sizes(primal)

    def off(elements):
        direction = np.zeros_like(primal.point)
        direction[elements] = scale[elements] * rng.choice([-1.0, 1.0], len(elements))
        line = slopes(primal, primal.point, direction, steps, primal.unit)
        gap = abs(w @ np.nan_to_num(line.central) - reported @ direction)
        return gap, line, direction

    elements = leaf.start + np.arange(leaf.size)
    while len(elements) > 1:
        first, second = np.array_split(elements, 2)
        elements = first if off(first)[0] >= off(second)[0] else second
    _, line, direction = off(elements)
    size = direction[elements[0]]
    slope, error = w @ line.central / size, np.abs(w) @ line.error / abs(size)
    return [(int(elements[0] - leaf.start), float(slope), float(_constants.ERRORS * error))]
