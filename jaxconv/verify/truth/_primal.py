"""The values of a function at any point, without the rounding of its dtypes."""

from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._modes import Absent
from .._problem import Problem, join, split, typed
from ..program._interpreter import computations, evaluate, straight_equations
from ..program._plan import plan_of
from ..program._program import Program
from ..program._wide import equations
from ._operations import FINE, Arithmetic, is_smooth, unit

# Points are evaluated in batches that hold about so many elements.
BATCH = 1 << 22
# Up to this many equations of small arrays, over all points, a loop over the points is as fast as a
# batch, for which JAX must first compile each primitive.
_ONE_BY_ONE = 200_000


class Primal:
    """The values of a function in float64, at any point.

    The values inside `stop_gradient` can be held constant. Their zero derivative may be intended,
    as in straight-through rounding: finite differences then must not see them move. Or
    `stop_gradient` is a way to keep JAX from differentiating something that has its own rule, such
    as the solution of linear equations. `settle` finds out which.

    A function that can't be evaluated in float64 is called in its own dtypes.

    Attributes:
      point: Where the gradient is checked, as a flat vector.
      traced: The jaxpr of the function.
      is_as_it_is: Whether the function is called in its own dtypes.
      unit: The relative precision of the values: the unit roundoff of float64, that of a dtype that
        can't be widened, or the noise in the values, see `_precision.py`.
      arithmetic: The arithmetic that formulas are judged by, see `_precision.py`.
      differences: The name of the finite differences in the report.
      stops: Whether the function holds a `stop_gradient`.
      can_hold: Whether the values inside `stop_gradient` can be held constant.
      is_smooth: Whether the function is known to have no kinks.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.traced = jax.make_jaxpr(problem.function)(*problem.point)
        self.unit, self.arithmetic = FINE, Arithmetic()
        self.point = join(problem.point)
        # A `stop_gradient` in a loop has many values, which can't be held.
        straight, everywhere = (
            _stops(straight_equations(self.traced)),
            _stops(equations(self.traced)),
        )
        self.stops, self.can_hold = everywhere > 0, 0 < straight == everywhere
        self.is_smooth = is_smooth(computations(self.traced))
        self._program = Program(self.traced)
        self._held: list | None = None
        self._batched: Any = None
        self.is_as_it_is, self.differences = False, "finite differences"
        self._find_precision()

    def _find_precision(self):
        """Find out whether the float64 values are those of the function, and how exact they are."""
        ours = self(self.point)
        self.unit = self._program.unit
        is_broken = np.isfinite(self.problem.values) & ~np.isfinite(ours)
        if self._program.is_as_traced or is_broken.any():
            self.is_as_it_is, self.can_hold = True, False
            self.unit = max(
                unit(leaf.dtype) for leaf in (*self.problem.point, *self.problem.outputs)
            )
            dtypes = sorted({str(leaf.dtype) for leaf in self.problem.outputs})
            self.differences = f"finite differences of the function in {' and '.join(dtypes)}"

    def function64(self, *leaves: Any, visit: Any = None) -> tuple:
        """The function of float64 leaves, without custom rules; JAX can differentiate it.

        Raises:
          Absent: The function can't be evaluated in float64.
        """
        if self.is_as_it_is:
            raise Absent(f"{self.problem.name} can't be evaluated in float64")
        return tuple(evaluate(self.traced, leaves, visit))

    def largest(self) -> float:
        """The largest magnitude of all intermediate results, constants left out."""
        found = [0.0]

        def visit(equation, operands, results, is_narrow):
            for result in results:
                if not isinstance(result, Tracer) and jnp.issubdtype(result.dtype, jnp.inexact):
                    sizes = np.abs(np.asarray(result))
                    found.append(sizes.max(initial=0.0, where=np.isfinite(sizes)))
            return results

        with jax.enable_x64(True), suppress(Absent):
            self.function64(*split(self.problem.leaves, self.point), visit=visit)
        return float(max(found))

    def hold(self) -> None:
        """Hold the values inside `stop_gradient` constant from now on."""
        found: list[Any] = []

        def visit(equation, _, results, is_narrow):
            if equation.primitive.name == "stop_gradient":
                found.extend(results)
            return results

        with jax.enable_x64(True):
            self.function64(*split(self.problem.leaves, self.point), visit=visit)
        self._held, self._batched = found, None

    def let_go(self) -> None:
        """Stop holding values constant."""
        self._held = self._batched = None

    def _results(self, flat, held):
        if self.is_as_it_is:
            return self.problem.function(*typed(self.problem.leaves, flat))
        changes = None if held is None else _holding
        return self._program(split(self.problem.leaves, flat), changes, held is None, held)

    def __call__(self, flat: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            results = self._results(flat, self._held)
        return join(results)

    def many(self, points: np.ndarray) -> np.ndarray:
        """The values at each row of `points`."""
        work = len(points) * plan_of(self.traced).cost
        alone = self.is_as_it_is or (self._program.has_loops and not self._program.is_compiled)
        if alone or work < _ONE_BY_ONE:
            return np.stack([self(point) for point in points])
        if self._batched is None:

            def values(flat, held):
                results = self._results(flat, held)
                return jnp.concatenate([jnp.ravel(result) for result in results])

            batched = jax.vmap(values, in_axes=(0, None))
            self._batched = jax.jit(batched) if self._program.has_loops else batched
        most = max(1, min(256, BATCH // (points.shape[1] + self.problem.output_size)))
        # Few sizes of batches, since JAX compiles each primitive for each of them.
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
    """Changes that replace the results of `stop_gradient` by the values that are held."""
    left = list(held)

    def visit(equation, _, results, is_narrow):
        if equation.primitive.name != "stop_gradient":
            return results
        return [left.pop(0) for _ in results]

    return visit, None


def _stops(found):
    return sum(equation.primitive.name == "stop_gradient" for equation in found)
