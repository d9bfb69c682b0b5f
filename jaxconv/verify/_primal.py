"""The values of a function, at any point, without the rounding of its dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._interpreter import Program, computations, equations, evaluate, straight_equations
from ._operations import FINE, Arithmetic, is_smooth
from ._plan import plan_of
from ._problem import Problem, split

# Points are evaluated in batches of as many as make this many numbers.
BATCH = 1 << 22
# Equations of small arrays, over all points, up to which one point after the other is as quick as
# a batch of them, whose primitives JAX compiles first.
_ONE_BY_ONE = 200_000


class Primal:
    """The values of a function in float64, at any point.

    What stands behind `stop_gradient` can be held constant: that its derivative is zero may be what
    the author asks for, as in straight-through rounding, and then differences must not see it
    move. Or it is an implementation's way to keep JAX out of what it differentiates by a rule, as
    in the solution of linear equations; `settle` finds out which.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.traced = jax.make_jaxpr(problem.function)(*problem.point)
        # How exact values are, and the arithmetic that formulas are judged by, see `_precision.py`.
        self.unit, self.arithmetic = FINE, Arithmetic()
        self.point = np.concatenate(
            [np.asarray(a).astype(np.float64).ravel() for a in problem.point]
        )
        # In a loop nothing can be held: what stands there has many values.
        straight, everywhere = (
            _stops(straight_equations(self.traced)),
            _stops(equations(self.traced)),
        )
        self.stops, self.can_hold = everywhere > 0, 0 < straight == everywhere
        self.is_smooth = is_smooth(computations(self.traced))
        self._program = Program(self.traced)
        self._held: list | None = None
        self._batched: Any = None

    def function64(self, *leaves: Any, visit: Any = None) -> tuple:
        """The function on float64 leaves, without custom rules; can be differentiated."""
        return tuple(evaluate(self.traced, leaves, visit))

    def largest(self) -> float:
        """The largest number that occurs as the function is computed, constants left out."""
        found = [0.0]

        def visit(equation, operands, results, is_narrow):
            for result in results:
                if not isinstance(result, Tracer) and jnp.issubdtype(result.dtype, jnp.inexact):
                    sizes = np.abs(np.asarray(result))
                    found.append(sizes.max(initial=0.0, where=np.isfinite(sizes)))
            return results

        with jax.enable_x64(True):
            self.function64(*split(self.problem.leaves, self.point), visit=visit)
        return float(max(found))

    def hold(self) -> None:
        """From now on hold constant what stands behind `stop_gradient`."""
        found: list[Any] = []

        def visit(equation, _, results, is_narrow):
            if equation.primitive.name == "stop_gradient":
                found.extend(results)
            return results

        with jax.enable_x64(True):
            self.function64(*split(self.problem.leaves, self.point), visit=visit)
        self._held, self._batched = found, None

    def let_go(self) -> None:
        """No longer hold anything constant."""
        self._held = self._batched = None

    def _results(self, flat, held):
        changes = None if held is None else _holding
        return self._program(split(self.problem.leaves, flat), changes, held is None, held)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            results = self._results(flat, self._held)
        return np.concatenate([np.asarray(r, np.float64).ravel() for r in results])

    def many(self, points: np.ndarray) -> np.ndarray:
        """The values at each row of `points`."""
        work = len(points) * plan_of(self.traced).cost
        if work < _ONE_BY_ONE or (self._program.has_loops and not self._program.is_compiled):
            return np.stack([self(point) for point in points])
        if self._batched is None:

            def values(flat, held):
                results = self._results(flat, held)
                return jnp.concatenate([jnp.ravel(result) for result in results])

            batched = jax.vmap(values, in_axes=(0, None))
            self._batched = jax.jit(batched) if self._program.has_loops else batched
        most = max(1, min(256, BATCH // (points.shape[1] + self.problem.output_size)))
        # Batches of few sizes, which JAX has compiled each primitive for.
        size = next((size for size in (4, 16, 64) if len(points) <= size <= most), most)
        padded = np.concatenate([points, np.repeat(points[:1], -len(points) % size, axis=0)])
        try:
            with jax.enable_x64(True):
                rows = [
                    np.asarray(self._batched(padded[i : i + size], self._held))
                    for i in range(0, len(padded), size)
                ]
        except NotImplementedError:  # a primitive without a batching rule
            return np.stack([self(point) for point in points])
        return np.concatenate(rows)[: len(points)]


def _holding(held):
    """Changes that put what is held in the place of what stands behind `stop_gradient`."""
    left = list(held)

    def visit(equation, _, results, is_narrow):
        if equation.primitive.name != "stop_gradient":
            return results
        return [left.pop(0) for _ in results]

    return visit, None


def _stops(found):
    return sum(equation.primitive.name == "stop_gradient" for equation in found)
