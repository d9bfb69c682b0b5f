"""The gradient of an argument in which the function is linear, without small steps.

x_bar[i] = <w, f(e_i) - f(0)>                                                          (1)
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import _constants
from .._draws import Draws
from .._problem import CALLER, Leaf
from ._operations import FINE
from ._truth import BATCH, Primal, Truth


def with_linear_rows(primal: Primal, truth: Truth, linear: Sequence[Leaf], draws: Draws) -> Truth:
    """The truth with the gradients of linear arguments taken from (1), where their size allows it.

    Raises:
      ValueError: The function isn't linear in one of the arguments.
    """
    problem = primal.problem
    for leaf in linear:
        _check_linear(primal, leaf, draws)
    small = [
        leaf
        for leaf in linear
        if leaf.size <= _constants.LINEAR_COORDINATES
        and leaf.size * (problem.output_size + problem.size) <= _constants.LINEAR_NUMBERS
    ]
    if not small or (truth.reverse is None and len(small) < len(problem.leaves)):
        return truth
    shape = len(draws.cotangents), problem.size
    reverse = np.zeros(shape) if truth.reverse is None else truth.reverse.copy()
    error = np.zeros(shape) if truth.reverse_error is None else truth.reverse_error.copy()
    for leaf in small:
        reverse[:, leaf.elements], error[:, leaf.elements] = _rows(primal, leaf, draws.cotangents)
    source = f"f(x + v) - f(x) along every coordinate of {', '.join(leaf.name for leaf in small)}"
    if len(small) < len(problem.leaves):
        source += f"; {truth.source}"
    return replace(truth, reverse=reverse, reverse_error=error, source=source)


def _rows(primal, leaf, cotangents):
    """(1) for each cotangent, and how far rounding may move it."""
    problem, origin = primal.problem, primal.point.copy()
    origin[leaf.elements] = 0
    start = primal(origin)
    values, errors = np.empty((len(cotangents), leaf.size)), np.empty((len(cotangents), leaf.size))
    chunk = max(1, BATCH // (problem.size + problem.output_size))
    for first in range(0, leaf.size, chunk):
        here = np.arange(first, min(first + chunk, leaf.size))
        points = np.repeat(origin[None], len(here), axis=0)
        points[np.arange(len(here)), leaf.start + here] = 1.0
        ahead = primal.many(points)
        values[:, here] = cotangents @ (ahead - start).T
        sums = np.abs(cotangents) @ (np.abs(ahead) + np.abs(start)).T
        errors[:, here] = FINE * problem.output_size * sums
    return values, errors


def _check_linear(primal, leaf, draws):
    problem, origin, v = primal.problem, primal.point.copy(), np.zeros_like(primal.point)
    origin[leaf.elements] = 0
    v[leaf.elements] = draws.directions[0][leaf.elements]
    u = np.zeros_like(v)
    u[leaf.elements] = primal.point[leaf.elements]
    start, a, b, both = (primal(origin + d) for d in (0 * v, u, v, u + v))
    sizes = np.abs(start) + np.abs(a) + np.abs(b) + np.abs(both)
    bound = FINE * (problem.size + problem.output_size) * sizes.max(initial=0.0)
    if not np.all(np.abs(both - a - b + start) <= bound):
        raise ValueError(
            f"{CALLER}: linear_in names {leaf.name}, but {problem.name} is not linear in it: "
            "f(u + v) - f(0) is not f(u) - f(0) + f(v) - f(0)."
        )
