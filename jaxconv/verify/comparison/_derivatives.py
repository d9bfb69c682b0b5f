"""The derivatives to compare, true and reported, traced once and evaluated at any point."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .. import _constants, _modes
from .._draws import Draws
from .._problem import Problem, split
from ..truth._rounding import Measured, Measurement
from ..truth._truth import Primal, is_large


class Derivatives:
    """The true derivatives and those by the rules, at any point and for any cotangents.

    Their names are `true_reverse`, `true_forward`, `reverse` and `forward`.

    Attributes:
      missing: The names of those that JAX does not have, each with the reason.
      crashed: The names of those whose trace raised, each with the error.
    """

    def __init__(self, problem: Problem, primal: Primal, model: Primal, draws: Draws, seed: int):
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
        # The constants of autodiff of the function are exact. Those of another formula are rounded.
        exact = None if model is primal else ""
        pairs = {"reverse": "true_reverse", "forward": "true_forward", "value": None,
                 "true_reverse": exact, "true_forward": exact}  # fmt: skip
        self._measurement = Measurement(self.traces, primal.arithmetic, seed, samples, pairs)

    def _trace(self, name, function, *args):
        try:
            self.traces[name] = _modes.trace(function, *args)
        except _modes.Absent as why:
            self.missing[name] = str(why)
        except Exception as error:  # tracing runs the rule; what it raises is a finding
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
        """Derivatives with their rounding.

        Args:
          point: The point, flat.
          ws: The cotangents, flat, one per row.
          only: Names of derivatives; all if empty.
          is_own: Whether rounding is that of the dtypes of the function and not that of formulas.
          more: The number of perturbed evaluations; 0 is the usual number.
          coarser: Whether errors are COARSER times as large.
          vs: The directions; None for those of the check.
        """
        return self._measurement(self._arguments(point, ws, only, vs), is_own, more, coarser)

    def true_reverse(self, point: np.ndarray, ws: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The true gradient of the first cotangent, flat, without its rounding."""
        arguments = self._arguments(point, ws, ["true_reverse"])
        return self._measurement.values(arguments)["true_reverse"][: self.problem.size]

    def reverse(self, point: np.ndarray, ws: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The gradients by the rule for three cotangents, one per row."""
        found = self._measurement.values(self._arguments(point, ws, ["reverse"]))["reverse"]
        return found.reshape(len(ws), -1)

    def forward(self, point: np.ndarray, vs: np.ndarray) -> np.ndarray:
        """The tangents by the forward rule for as many directions as were drawn, flat."""
        arguments = self._arguments(point, self.draws.cotangents, ["forward"], vs)
        return self._measurement.values(arguments)["forward"]

    def true(self, point: np.ndarray, name: str) -> np.ndarray:
        """The true gradients (`"reverse"`) or tangents (`"forward"`) at a point, one per row."""
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


def _wide(tree):
    return jax.tree.map(lambda a: np.asarray(a).astype(np.float64), tree)
