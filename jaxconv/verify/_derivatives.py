"""The derivatives to compare: the true ones and the reported ones, traced, in one program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _constants, _modes
from ._problem import Problem, split, typed
from ._rounding import Measured, Measurement
from ._truth import Primal, is_large


class Derivatives:
    """What the truth and the rule say at any point, for any cotangents and directions.

    The names are `true_reverse`, `true_forward`, `reverse`, `forward`; those that don't
    exist are in `missing`, with the reason, and `crashed`, with the error.
    """

    def __init__(self, problem: Problem, primal: Primal, model: Primal, draws: "Draws", seed: int):
        self.problem, self.draws = problem, draws
        self.missing: dict[str, str] = {}
        self.crashed: dict[str, Exception] = {}
        xs, ws, vs = draws.xs, draws.ws, draws.vs
        self.traces: dict[str, Any] = {"value": primal.traced}
        self._trace("reverse", lambda xs, ws: _modes.reverse(problem.function, xs, ws), xs, ws)
        self._trace("forward", lambda xs, vs: _modes.forward(problem.function, xs, vs), xs, vs)
        with jax.enable_x64(True):
            xs, ws, vs = _wide(xs), _wide(ws), _wide(vs)
            f = model.function64
            self._trace("true_reverse", lambda xs, ws: _modes.reverse(f, xs, ws), xs, ws)
            self._trace("true_forward", lambda xs, vs: _modes.forward(f, xs, vs), xs, vs)
        samples = _constants.FEW_SAMPLES if is_large(problem) else _constants.SAMPLES
        # What the function computes has its own constants. Those of another formula are rounded.
        exact = None if model is primal else ""
        pairs = {"reverse": "true_reverse", "forward": "true_forward", "value": None,
                 "true_reverse": exact, "true_forward": exact}  # fmt: skip
        self._measurement = Measurement(self.traces, primal.arithmetic, seed, samples, pairs)

    def _trace(self, name, function, *args):
        try:
            self.traces[name] = _modes.trace(function, *args)
        except _modes.Absent as why:
            self.missing[name] = str(why)
        except Exception as error:  # the user's rule runs, and what it raises is a finding
            self.crashed[name] = error

    def __call__(
        self,
        point: np.ndarray,
        ws: Sequence[np.ndarray] | np.ndarray,
        only: Sequence[str] = (),
        is_own: bool = False,
        more: int = 0,
        coarser: bool = False,
        vs: np.ndarray | None = None,
    ) -> dict[str, Measured]:
        """Derivatives at a flat point for flat cotangents: all, or `only` those.

        Their rounding is that of formulas or, if `is_own`, of the function's dtypes, from `more`
        perturbed evaluations than usual if that is not zero, or of errors COARSER times as large.
        `vs` takes the place of the directions.
        """
        return self._measurement(self._arguments(point, ws, only, vs), is_own, more, coarser)

    def true_reverse(self, point: np.ndarray, ws: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The true gradient of the first cotangent, flat, without its rounding."""
        arguments = self._arguments(point, ws, ["true_reverse"])
        return self._measurement.values(arguments)["true_reverse"][: self.problem.size]

    def reverse(self, point: np.ndarray, ws: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """What the rule's formula makes of three cotangents, a row for each."""
        found = self._measurement.values(self._arguments(point, ws, ["reverse"]))["reverse"]
        return found.reshape(len(ws), -1)

    def forward(self, point: np.ndarray, vs: np.ndarray) -> np.ndarray:
        """What the forward rule's formula makes of as many directions as were drawn, flat."""
        arguments = self._arguments(point, self.draws.cotangents, ["forward"], vs)
        return self._measurement.values(arguments)["forward"]

    def true(self, point: np.ndarray, name: str) -> np.ndarray:
        """All true gradients (`"reverse"`) or tangents (`"forward"`) at a point, a row each."""
        draws = self.draws
        arguments = self._arguments(point, draws.cotangents, [f"true_{name}"])
        found = self._measurement.values(arguments)[f"true_{name}"]
        return found.reshape(len(draws.directions if name == "forward" else draws.cotangents), -1)

    def _arguments(self, point, ws, only, vs=None):
        leaves, outputs = self.problem.leaves, self.problem.outputs
        xs = split(leaves, point)
        flat_ws = [part for w in ws for part in split(outputs, np.asarray(w))]
        vs = self.draws.directions if vs is None else vs
        flat_vs = [part for v in vs for part in split(leaves, v)]
        args = {"reverse": [*xs, *flat_ws], "forward": [*xs, *flat_vs], "value": xs}
        args |= {f"true_{name}": args[name] for name in ("reverse", "forward")}
        return {n: args[n] for n in only or self.traces if n != "value" or n in only}


class Draws:
    """The random cotangents and directions, in the dtypes of the function.

    Cotangents are small multiples of 1/16, so that sums of two of them are exact in any dtype: the
    third is the sum of the first and the second.
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
        """Another point at which the function exists, as far as it does at the first."""
        step = _constants.SECOND_POINT * self.direction()
        exists = self._exists(point)
        for _ in range(_constants.SHRINKINGS):
            second = _flat(typed(self.problem.leaves, point + step))
            if np.all(self._exists(second) >= exists):
                return second
            step = step / _constants.STEP_FACTOR
        return point

    def _exists(self, point):
        values = self.problem.function(*typed(self.problem.leaves, point))
        return np.isfinite(_flat(values))

    def direction(self) -> np.ndarray:
        """A random direction of the size of the point, of numbers that the dtypes have."""
        v = self._rng.normal(size=self.problem.size) * self.scale
        return _flat(typed(self.problem.leaves, v))


def _flat(arrays: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(a).astype(np.float64).ravel() for a in arrays])


def _wide(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)
