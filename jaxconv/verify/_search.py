"""The worst elements of a gradient too large to try each: by halving, as one finds a false coin."""

import numpy as np

from . import _constants
from ._differences import slopes
from ._problem import Leaf
from ._truth import Primal, scales, step_sizes


def worst_by_halves(
    primal: Primal, leaf: Leaf, reported: np.ndarray, w: np.ndarray, seed: int
) -> list[tuple[int, float, float]]:
    """Follow the larger error of two halves down to a single element.

    Args:
      primal: The function's values.
      leaf: The array to search.
      reported: The gradient of `<w, f>`, flat over all arrays.
      w: The cotangent.
      seed: Of the random directions.

    Returns:
      Element, true slope and its error; one, the one that was found.
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
