"""The values of a function in NumPy, in place of a `Primal`."""

import numpy as np

from jaxconv.verify._problem import Leaf, Problem


class Values:
    """A NumPy function of one flat vector, split into arguments of the given shapes."""

    differences, can_hold, is_smooth = "differences", False, False

    def __init__(self, f, *args, unit=2.0**-52):
        self.f, self.unit, self.point = f, unit, np.concatenate([np.ravel(a) for a in args])
        leaves, start = [], 0
        for i, array in enumerate(map(np.asarray, args)):
            leaves.append(Leaf(f"x{i}", i, array.shape, np.dtype(float), start))
            start += array.size
        size = np.size(f(self.point))
        outputs = (Leaf("y", -1, (size,), np.dtype(float), 0),)
        self.problem = Problem("f", f, tuple(leaves), outputs, (), f(self.point))
        self.evaluations = 0

    def __call__(self, flat):
        self.evaluations += 1
        return np.ravel(self.f(flat))

    def many(self, points):
        return np.stack([self(point) for point in points])
