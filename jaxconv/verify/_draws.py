"""The random cotangents and directions of a check, drawn from its seed."""

import numpy as np

from . import _constants
from ._problem import Problem, join, typed


class Draws:
    """Random cotangents and directions, in the dtypes of the function.

    Cotangents are small multiples of 1/16, so that the sum of two is exact in every dtype. The
    third cotangent is the sum of the first two.
    """

    def __init__(
        self, problem: Problem, point: np.ndarray, scale: np.ndarray, count: int, seed: int
    ):
        self._rng = np.random.default_rng([seed, 0])
        self.problem, self.scale = problem, scale
        a, b = (self._cotangent() for _ in range(2))
        self.cotangents = np.stack([a, b, a + b])
        self.directions = np.stack([self.direction() for _ in range(count)])
        self.second_point = self._second_point(point)
        self.xs = problem.point
        self.ws = [typed(problem.outputs, w) for w in self.cotangents]
        self.vs = [typed(problem.leaves, v) for v in self.directions]

    def _cotangent(self):
        size = self.problem.output_size
        least, most = _constants.SMALLEST_COTANGENT, _constants.LARGEST_COTANGENT
        sixteenths = self._rng.integers(least, most, size, endpoint=True)
        return sixteenths * self._rng.choice([-1.0, 1.0], size) / 16

    def _second_point(self, point):
        """Another point at which every result exists that exists at the first."""
        step = _constants.SECOND_POINT * self.direction()
        exists = np.isfinite(self.problem.values)
        for _ in range(_constants.SHRINKINGS):
            second = join(typed(self.problem.leaves, point + step))
            if np.all(self._exists(second) >= exists):
                return second
            step = step / _constants.STEP_FACTOR
        return point

    def _exists(self, point):
        values = self.problem.function(*typed(self.problem.leaves, point))
        return np.isfinite(join(values))

    def direction(self) -> np.ndarray:
        """A random direction of the size of the point, with values that the dtypes represent."""
        v = self._rng.normal(size=self.problem.size) * self.scale
        return join(typed(self.problem.leaves, v))
